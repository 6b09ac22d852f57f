// The files that make up an adapter, by name: what is fetched, unpacked and kept of a source.
// Owns: nothing. Thread: any.
#pragma once

#include <span>
#include <string_view>

namespace lorry::formats {

inline constexpr std::string_view kAdapterConfigFile = "adapter_config.json";
inline constexpr std::string_view kAdapterWeightsFile = "adapter_model.safetensors";
inline constexpr std::string_view kAdapterTorchFile = "adapter_model.bin";

// All of them, sorted. A directory is asked for these one by one, so that it may hold millions of
// others.
std::span<const std::string_view> AdapterFileNames();

// Config, weights, tokenizer and chat template; never an optimizer's state, a log or code.
bool IsAdapterFile(std::string_view name);

}  // namespace lorry::formats
