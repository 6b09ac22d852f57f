// Which instruction set the kernels use. Chosen once at start, from what the processor has and what
// the operator allows.
#pragma once

#include <string_view>

#include "base/result.h"

namespace lorry::kernels {

enum class Isa { kRef, kPortable, kAvx2, kAvx512Bf16 };

std::string_view IsaName(Isa isa);  // "ref", "portable", "avx2", "avx512bf16"
Isa BestIsa();                      // what this processor can do

// `name`: "auto" or one of the names above. Before the first kernel runs; kInvalidArgument for an
// unknown name or one that this processor lacks (the message lists what it has).
Status SelectIsa(std::string_view name);
Isa SelectedIsa();

}  // namespace lorry::kernels
