#include "formats/adapter_files.h"

#include <algorithm>
#include <array>

namespace lorry::formats {

bool IsAdapterFile(std::string_view name) {
  constexpr std::array kNames = {
      kAdapterConfigFile,
      kAdapterWeightsFile,
      kAdapterTorchFile,
      std::string_view("added_tokens.json"),
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
  return std::find(kNames.begin(), kNames.end(), name) != kNames.end();
}

}  // namespace lorry::formats
