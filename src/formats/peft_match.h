// Which modules of a base model a PEFT config targets, and with what rank and scaling: exactly
// PEFT's own answer (tests/data/oracle/peft_matching.json holds what PEFT says). Owns: nothing.
// Thread: any. Pure.
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

// In the order of `modules`. Refused: a target that PEFT could not adapt (a container, a norm), a
// target that it could and Lorry does not (embeddings, the output head), and a config that matches
// nothing.
Result<std::vector<TargetedModule>> MatchPeftModules(const PeftLoraConfig& config,
                                                     ModelFamily family,
                                                     std::span<const BaseModule> modules);

}  // namespace lorry::formats
