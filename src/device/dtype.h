// Element types of tensors and checkpoints.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string_view>

namespace lorry {

enum class DType : uint8_t {
  kF32,
  kBF16,
  kF16,
  kI64,
  kI32,
  kI16,
  kI8,
  kU8,
  kBool,
  kF64,
  kF8E4M3,
  kF8E5M2
};

constexpr size_t DTypeBytes(DType dtype) {
  switch (dtype) {
    case DType::kI64:
    case DType::kF64:
      return 8;
    case DType::kF32:
    case DType::kI32:
      return 4;
    case DType::kBF16:
    case DType::kF16:
    case DType::kI16:
      return 2;
    default:
      return 1;
  }
}

std::string_view DTypeName(DType dtype);

// bfloat16 as stored: the upper half of a float.
struct BFloat16 {
  uint16_t bits = 0;
};

inline float ToFloat(BFloat16 value) {
  const uint32_t bits = static_cast<uint32_t>(value.bits) << 16;
  float result;
  std::memcpy(&result, &bits, sizeof(result));
  return result;
}

// Round to nearest, ties to even, as the hardware conversion does; NaN stays NaN.
inline BFloat16 ToBFloat16(float value) {
  uint32_t bits;
  std::memcpy(&bits, &value, sizeof(bits));
  if ((bits & 0x7fffffffu) > 0x7f800000u) return {static_cast<uint16_t>((bits >> 16) | 0x40)};
  bits += 0x7fffu + ((bits >> 16) & 1);
  return {static_cast<uint16_t>(bits >> 16)};
}

// IEEE half precision. Without branches: the exponent is rebased by a multiplication, which makes
// subnormals right too.
inline float HalfToFloat(uint16_t half) {
  uint32_t bits = static_cast<uint32_t>(half & 0x7fff) << 13;
  float magnitude;
  std::memcpy(&magnitude, &bits, sizeof(magnitude));
  magnitude *= 0x1p112f;
  std::memcpy(&bits, &magnitude, sizeof(bits));
  const uint32_t special = (half & 0x7c00) == 0x7c00 ? 0x7f800000u : 0;  // Inf and NaN
  bits |= special | static_cast<uint32_t>(half & 0x8000) << 16;
  float result;
  std::memcpy(&result, &bits, sizeof(result));
  return result;
}

}  // namespace lorry
