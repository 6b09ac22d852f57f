#include "formats/adapter_files.h"

#include <algorithm>
#include <array>

namespace lorry::formats {

namespace {

constexpr std::array kNames = {
    kAdapterConfigFile,
    kAdapterTorchFile,
    kAdapterWeightsFile,
    std::string_view("added_tokens.json"),
    std::string_view("additional_chat_templates/default.jinja"),
    std::string_view("additional_chat_templates/tool_use.jinja"),
    std::string_view("chat_template.jinja"),
    std::string_view("chat_template.json"),
    std::string_view("generation_config.json"),
    std::string_view("merges.txt"),
    std::string_view("special_tokens_map.json"),
    std::string_view("tokenizer.json"),
    std::string_view("tokenizer.model"),
    std::string_view("tokenizer_config.json"),
    std::string_view("vocab.json"),
    std::string_view("vocab.txt"),
};
static_assert(std::is_sorted(kNames.begin(), kNames.end()));

}  // namespace

std::span<const std::string_view> AdapterFileNames() { return kNames; }

bool IsAdapterFile(std::string_view name) {
  return std::binary_search(kNames.begin(), kNames.end(), name);
}

std::string_view AdapterFileFolder(std::string_view name) {
  const size_t slash = name.rfind('/');
  return slash == std::string_view::npos ? std::string_view() : name.substr(0, slash);
}

}  // namespace lorry::formats
