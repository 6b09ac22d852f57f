// What PEFT does to each module of a base model under a config: LoRA with which rank and scaling,
// saved whole, rows of tokens replaced. Exactly PEFT's own answer
// (tests/data/oracle/peft_matching.json holds what PEFT says of LoRA). Owns: nothing. Thread: any.
// Pure.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "base/result.h"
#include "formats/base_modules.h"
#include "formats/peft_config.h"

namespace lorry::formats {

struct TargetedModule {
  size_t module_idx = 0;  // into the list of base modules
  int64_t rank = 0;
  double scaling = 0.0;  // y = x·Wᵀ + scaling·(x·Aᵀ)·Bᵀ
};

// In the order of `modules`. `tied_embeddings`: the base's head is its embedding. Refused: a target
// that PEFT could not adapt (a container, a norm), and a config that matches nothing.
Result<std::vector<TargetedModule>> MatchPeftModules(const PeftLoraConfig& config,
                                                     ModelFamily family,
                                                     std::span<const BaseModule> modules,
                                                     bool tied_embeddings = false);

// Rows of the embedding or the head that the adapter replaces.
struct TokenTarget {
  size_t module_idx = 0;
  std::vector<int64_t> token_ids;
  bool follows_embedding = false;  // the tied head: its rows are the embedding's
};

struct ModulePlan {
  std::vector<TargetedModule> lora;  // in the order of the modules
  std::vector<size_t> saved;         // modules with parameters, in their order
  bool head_is_saved_embedding =
      false;  // ensure_weight_tying: the head in `saved` is the embedding
  bool head_lora_is_embeddings =
      false;  // the same for LoRA: the head's A and B are the embedding's
  std::vector<TokenTarget> tokens;
};

// All that PEFT does. Refused besides: one module in two roles.
Result<ModulePlan> PlanPeftModules(const PeftLoraConfig& config, ModelFamily family,
                                   std::span<const BaseModule> modules, bool tied_embeddings);

}  // namespace lorry::formats
