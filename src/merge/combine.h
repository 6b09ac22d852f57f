// One module of several adapters combined into one: PEFT's add_weighted_adapter for that module.
// Owns: nothing. Thread: any.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "formats/peft_adapter.h"
#include "merge/combination.h"
#include "merge/low_rank.h"

namespace lorry::merge {

// An adapter's part in a module.
struct ModuleTerm {
  const formats::AdapterModule* module;
  double weight;       // of the adapter, beside the module's own scaling
  size_t adapter_idx;  // in the order given
};

enum class Factor { kA, kB };

// What DARE keeps of a matrix: `count` bytes, 1 or 0, row-major.
using MaskSource = std::function<std::vector<uint8_t>(size_t adapter_idx, const std::string& module,
                                                      Factor factor, size_t count)>;

// Keeps each element with probability `density`. An element's fate depends on the seed, the
// adapter's place, the module's name, the factor and the element alone.
MaskSource SeededMasks(uint64_t seed, double density);

// The module of one adapter as it is, its scaling and weight in `scale`.
LowRank Unchanged(const ModuleTerm& term);

// `terms`: those of the adapters that have the module, at least one, and of equal rank where the
// method needs that. svd_rank must be given for svd.
LowRank CombineModule(const Combination& combination, std::span<const ModuleTerm> terms,
                      const MaskSource& masks);

}  // namespace lorry::merge
