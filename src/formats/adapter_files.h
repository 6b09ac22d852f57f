// The files that make up an adapter, by name: what is fetched, unpacked and kept of a source.
// Owns: nothing. Thread: any.
#pragma once

#include <string_view>

namespace lorry::formats {

inline constexpr std::string_view kAdapterConfigFile = "adapter_config.json";
inline constexpr std::string_view kAdapterWeightsFile = "adapter_model.safetensors";
inline constexpr std::string_view kAdapterTorchFile = "adapter_model.bin";

// Config, weights, tokenizer and chat template; never an optimizer's state, a log or code.
bool IsAdapterFile(std::string_view name);

}  // namespace lorry::formats
