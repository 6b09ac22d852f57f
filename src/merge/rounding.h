// f32 values as a checkpoint stores them. Owns: nothing. Thread: any. Pure.
#pragma once

#include <cstddef>
#include <span>

#include "device/dtype.h"

namespace lorry::merge {

// Rounds to F32, BF16 or F16, to nearest and ties to even, into values.size() * DTypeBytes(dtype)
// bytes. False if a result is NaN or infinite, as when a value is beyond what the type can hold.
bool RoundTo(DType dtype, std::span<const float> values, std::span<std::byte> out);

}  // namespace lorry::merge
