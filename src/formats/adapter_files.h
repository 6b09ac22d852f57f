// The files that make up an adapter: what is fetched, unpacked, watched and kept of a source, and
// what its revision is made of. The one list of them.
// Owns: nothing. Thread: any.
#pragma once

#include <span>
#include <string_view>

namespace lorry::formats {

inline constexpr std::string_view kAdapterConfigFile = "adapter_config.json";
inline constexpr std::string_view kAdapterWeightsFile = "adapter_model.safetensors";
inline constexpr std::string_view kAdapterTorchFile = "adapter_model.bin";

// All of them, sorted, as paths in the adapter's directory: "tokenizer.json",
// "additional_chat_templates/tool_use.jinja". A directory is asked for these one by one, so that it
// may hold millions of others.
std::span<const std::string_view> AdapterFileNames();

// Config, weights, tokenizer and chat templates; never an optimizer's state, a log or code, and
// never a path with ".." in it or one that is absolute.
bool IsAdapterFile(std::string_view name);

// The folder that a file of the list lies in, one segment; empty: the adapter's directory itself.
std::string_view AdapterFileFolder(std::string_view name);

}  // namespace lorry::formats
