// adapter_config.json of a PEFT LoRA adapter. A key that changes the result and that Lorry does not
// apply is refused by name unless it is neutral. A key that PEFT does not know either is dropped,
// as PEFT does, with a warning unless it is null, false, {} or []: tensors and other keys decide.
// Owns: nothing.
// Thread: any.
#pragma once

#include <boost/json/object.hpp>
#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/result.h"

namespace lorry::formats {

constexpr int64_t kMaxLoraRank = 512;
constexpr size_t kMaxPeftConfigBytes = size_t{4} << 20;

// Which modules, as target_modules and exclude_modules say it.
struct ModuleSelector {
  enum class Kind {
    kUnset,  // null: for target_modules PEFT's default for the family, for exclude_modules nothing
    kAllLinear,  // "all-linear": every linear layer but the output head
    kRegex,      // a string: re.fullmatch against the module's name
    kNames,      // a list: the module's name or a dotted suffix of it
    kNothing,    // PEFT's "dummy-target-modules": no LoRA at all
  };
  Kind kind = Kind::kUnset;
  std::string regex;
  std::vector<std::string> names;
};

struct PeftLoraConfig {
  int64_t rank = 8;
  double alpha = 8.0;
  bool use_rslora = false;  // scaling alpha / sqrt(rank) instead of alpha / rank
  ModuleSelector target_modules;
  ModuleSelector exclude_modules;
  std::vector<int64_t> layers_to_transform;  // empty: all
  std::vector<std::string> layers_pattern;   // empty: any
  // In the order of the file: the first key that matches wins.
  std::vector<std::pair<std::string, int64_t>> rank_pattern;
  std::vector<std::pair<std::string, double>> alpha_pattern;

  bool use_dora = false;
  bool lora_bias = false;  // lora_B has a bias
  // Saved whole: the modules whose names end on one of these, and all below them.
  std::vector<std::string> modules_to_save;
  // trainable_token_indices: rows of the embedding or the head that are replaced, by the end of the
  // module's name.
  std::vector<std::pair<std::string, std::vector<int64_t>>> token_indices;
  bool ensure_weight_tying = false;  // with tied embeddings: what changes one changes the other

  std::string base_model_name;        // informational; empty if not given
  std::vector<std::string> warnings;  // what was dropped
};

// Reads ADAPTER_DIR/adapter_config.json.
Result<PeftLoraConfig> ReadPeftLoraConfig(const std::string& adapter_dir);
Result<PeftLoraConfig> ParsePeftLoraConfig(const boost::json::object& config,
                                           const std::string& where);

}  // namespace lorry::formats
