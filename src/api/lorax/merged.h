// LoRAX's `merged_adapters`: several adapters made one at load time, A and B apart.
// Owns: nothing. Thread: any.
#pragma once

#include <string_view>

#include "base/result.h"

namespace lorry::api::lorax {

// Why this strategy is not done, and what is to be asked for instead. kInvalidArgument: LoRAX knows
// no such strategy.
Error RefuseMerged(std::string_view merge_strategy);

}  // namespace lorry::api::lorax
