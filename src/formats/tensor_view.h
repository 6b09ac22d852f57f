// A tensor as it lies in a file, and its conversion to the types that Lorry computes in.
// Owns: nothing. Thread: any. Never: assumes that the data is aligned (safetensors promises no
// alignment).
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/result.h"
#include "device/dtype.h"

namespace lorry::formats {

struct TensorView {
  std::string name;
  DType dtype = DType::kF32;
  std::vector<int64_t> shape;        // empty: a scalar
  std::span<const std::byte> bytes;  // row-major, little-endian, maybe unaligned; empty: an outline

  int64_t num_elements() const;
  uint64_t num_bytes() const;  // by its shape, of an outline too
  // "F32 [512, 64]"
  std::string Describe() const;
};

// The bytes that a tensor of this shape, without negative dimension, takes; nothing if they do not
// fit 64 bits.
std::optional<uint64_t> ShapeBytes(const std::vector<int64_t>& shape, DType dtype);

// What weights may be stored as: F64, F32, BF16 or F16. F64 is taken as F32, rounded to nearest,
// as torch loads it into a model in F32 or less.
bool IsFloatWeight(DType dtype);
DType TakenAs(DType dtype);

// Converts a float weight (CHECKed) into as many elements of `out`; F16 to BF16 goes through f32,
// rounding to even, as does F64.
void ConvertToF32(const TensorView& tensor, std::span<float> out);
void ConvertToBF16(const TensorView& tensor, std::span<BFloat16> out);

// False if a float weight, as it is taken, holds a NaN or an infinity.
bool AllFinite(const TensorView& tensor);

}  // namespace lorry::formats
