// How several adapters become one: the methods of PEFT's add_weighted_adapter, by its names.
// Owns: nothing. Thread: any.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace lorry::merge {

enum class Method {
  kLinear,          // A and B each a weighted sum; their product has cross terms
  kCat,             // A and B stacked: the exact weighted sum, its rank the sum of the ranks
  kSvd,             // the exact weighted sum, cut to the best approximation of a rank
  kTies,            // as linear, of the largest values that agree in sign (Yadav et al. 2023)
  kDareLinear,      // as linear, of values dropped at random, the rest enlarged (Yu et al. 2024)
  kDareTies,        // drops at random as DARE, then merges as TIES
  kMagnitudePrune,  // as linear, of the largest values
};

// Which sign of an element wins in TIES.
enum class MajoritySign {
  kTotal,      // that of the sum
  kFrequency,  // that of most adapters
};

struct Combination {
  Method method = Method::kCat;
  double density = 1.0;  // the share of values that ties, dare_* and magnitude_prune keep
  MajoritySign majority_sign = MajoritySign::kTotal;
  int64_t svd_rank = 0;  // 0: the largest rank among the adapters
  uint64_t seed = 0;     // of what DARE drops
};

std::string_view MethodName(Method method);  // "dare_linear"
std::vector<std::string_view> MethodNames();
Result<Method> ParseMethod(std::string_view name);

bool UsesDensity(Method method);
bool UsesMajoritySign(Method method);
bool IsRandom(Method method);
// Adds A to A and B to B, so a module must have one rank in all adapters.
bool NeedsEqualRanks(Method method);

// Density within (0, 1], a rank that is not negative.
Status CheckCombination(const Combination& combination);

}  // namespace lorry::merge
