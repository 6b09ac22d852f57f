// generation_config.json: the model author's defaults for sampling and the ids that end a text. A
// default that changes the text and that Lorry does not apply is refused by name.
// Owns: nothing. Thread: any. Never: required; a model without the file has no defaults.
#pragma once

#include <boost/json/object.hpp>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/ids.h"
#include "base/result.h"

namespace lorry::formats {

struct GenerationConfig {
  std::vector<TokenId> eos_token_ids;
  std::optional<bool> do_sample;
  std::optional<double> temperature;         // >= 0
  std::optional<double> top_p;               // (0, 1]
  std::optional<double> min_p;               // [0, 1]
  std::optional<int64_t> top_k;              // >= 0; 0: all
  std::optional<double> repetition_penalty;  // > 0
  std::optional<int64_t> max_new_tokens;     // >= 1
};

// Reads MODEL_DIR/generation_config.json; absent, everything is unset.
Result<GenerationConfig> ReadGenerationConfig(const std::string& model_dir);
Result<GenerationConfig> ParseGenerationConfig(const boost::json::object& config,
                                               const std::string& where);

}  // namespace lorry::formats
