// 16 float lanes and the pair products on them: the whole of what differs between SSE2, AVX2 and
// AVX-512 BF16.
//
// Included by one .cc per instruction set (portable.cc, avx2.cc, avx512bf16.cc), each compiled with
// its own flags; so all of it, and of the .inl files over it, has internal linkage: no function
// compiled for one processor may be linked into another's code. Rounding is fixed by writing
// multiply-adds out (MulAdd) and forbidding the compiler to form others
// (-ffp-contract=off), so a tile of one row and a tile of eight give the same bits.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "device/dtype.h"

#if defined(__FMA__)
#include <immintrin.h>
#endif

#define LORRY_LANES __attribute__((always_inline)) inline

namespace lorry::kernels {
namespace {

constexpr int kLanes = 16;
#if defined(__AVX512BF16__)
constexpr int kNativeLanes = 16;
#elif defined(__AVX2__)
constexpr int kNativeLanes = 8;
#else
constexpr int kNativeLanes = 4;
#endif
constexpr int kParts = kLanes / kNativeLanes;

using NativeF32 __attribute__((vector_size(kNativeLanes * 4))) = float;
using NativeI32 __attribute__((vector_size(kNativeLanes * 4))) = int32_t;

struct F32x16 {
  NativeF32 part[kParts];
};

LORRY_LANES F32x16 Fill(float value) {
  F32x16 result;
  for (auto& part : result.part) part = NativeF32{} + value;
  return result;
}

LORRY_LANES F32x16 Load(const float* from) {
  F32x16 result;
  std::memcpy(&result, from, sizeof(result));
  return result;
}

LORRY_LANES void Store(float* to, F32x16 value) { std::memcpy(to, &value, sizeof(value)); }

template <typename Function>
LORRY_LANES F32x16 Map(F32x16 a, F32x16 b, Function function) {
  for (int i = 0; i < kParts; ++i) a.part[i] = function(a.part[i], b.part[i]);
  return a;
}

LORRY_LANES F32x16 operator+(F32x16 a, F32x16 b) {
  return Map(a, b, [](NativeF32 x, NativeF32 y) { return x + y; });
}
LORRY_LANES F32x16 operator-(F32x16 a, F32x16 b) {
  return Map(a, b, [](NativeF32 x, NativeF32 y) { return x - y; });
}
LORRY_LANES F32x16 operator*(F32x16 a, F32x16 b) {
  return Map(a, b, [](NativeF32 x, NativeF32 y) { return x * y; });
}
LORRY_LANES F32x16 operator/(F32x16 a, F32x16 b) {
  return Map(a, b, [](NativeF32 x, NativeF32 y) { return x / y; });
}
// A NaN in `a` stays.
LORRY_LANES F32x16 Max(F32x16 a, F32x16 b) {
  return Map(a, b, [](NativeF32 x, NativeF32 y) { return x < y ? y : x; });
}
LORRY_LANES F32x16 Min(F32x16 a, F32x16 b) {
  return Map(a, b, [](NativeF32 x, NativeF32 y) { return x > y ? y : x; });
}

// a * b + c: one rounding where the processor has it, two otherwise.
LORRY_LANES F32x16 MulAdd(F32x16 a, F32x16 b, F32x16 c) {
  for (int i = 0; i < kParts; ++i) {
#if defined(__AVX512BF16__)
    c.part[i] = _mm512_fmadd_ps(a.part[i], b.part[i], c.part[i]);
#elif defined(__FMA__)
    c.part[i] = _mm256_fmadd_ps(a.part[i], b.part[i], c.part[i]);
#else
    c.part[i] = a.part[i] * b.part[i] + c.part[i];
#endif
  }
  return c;
}

// Lanes [0, count) of memory, zero in the rest; reads no further.
LORRY_LANES F32x16 Load(const float* from, int count) {
#if defined(__AVX512BF16__)
  return {_mm512_maskz_loadu_ps(static_cast<__mmask16>((1u << count) - 1), from)};
#else
  float lanes[kLanes] = {};
  std::memcpy(lanes, from, static_cast<size_t>(count) * sizeof(float));
  return Load(lanes);
#endif
}

LORRY_LANES void Store(float* to, F32x16 value, int count) {
#if defined(__AVX512BF16__)
  _mm512_mask_storeu_ps(to, static_cast<__mmask16>((1u << count) - 1), value.part[0]);
#else
  float lanes[kLanes];
  Store(lanes, value);
  std::memcpy(to, lanes, static_cast<size_t>(count) * sizeof(float));
#endif
}

// Lanes [count, 16) replaced by `fill`.
LORRY_LANES F32x16 FillTail(F32x16 value, int count, float fill) {
#if defined(__AVX512BF16__)
  return {_mm512_mask_blend_ps(static_cast<__mmask16>((1u << count) - 1), Fill(fill).part[0],
                               value.part[0])};
#else
  float lanes[kLanes];
  Store(lanes, value);
  for (int i = count; i < kLanes; ++i) lanes[i] = fill;
  return Load(lanes);
#endif
}

// The sum / the largest of all lanes, by halves: lane i with i + 8, then i + 4, i + 2, i + 1.
template <typename Function>
LORRY_LANES float Reduce(F32x16 value, Function function) {
  float lanes[kLanes];
  Store(lanes, value);
  for (int half = kLanes / 2; half > 0; half /= 2) {
    for (int i = 0; i < half; ++i) lanes[i] = function(lanes[i], lanes[i + half]);
  }
  return lanes[0];
}
LORRY_LANES float ReduceAdd(F32x16 value) {
#if defined(__AVX512BF16__)
  return _mm512_reduce_add_ps(value.part[0]);
#else
  return Reduce(value, [](float a, float b) { return a + b; });
#endif
}
LORRY_LANES float ReduceMax(F32x16 value) {
#if defined(__AVX512BF16__)
  return _mm512_reduce_max_ps(value.part[0]);
#else
  return Reduce(value, [](float a, float b) { return a < b ? b : a; });
#endif
}

// e^x, within 2 ulp; exactly 0 below -87.33 (so of -inf), and e^88.37 above that. x = n ln 2 + r
// with |r| <= ln 2 / 2, then the Taylor polynomial of degree 7 (what it leaves out is below r^8 /
// 8! = 5e-9) times 2^n.
LORRY_LANES F32x16 Exp(F32x16 x) {
  constexpr float kLow = -87.33f, kHigh = 88.37f;
  constexpr float kRounder =
      12582912.0f;  // 1.5 * 2^23: adding it leaves the nearest integer in the low bits
  constexpr int32_t kRounderBits = 0x4b400000;
  constexpr float kLn2High = 0.693359375f,
                  kLn2Low = -2.12194440e-4f;  // High has 9 bits: n * High is exact
  const F32x16 clamped = Min(Max(x, Fill(kLow)), Fill(kHigh));
  const F32x16 rounded = MulAdd(clamped, Fill(1.44269504f), Fill(kRounder));
  const F32x16 n = rounded - Fill(kRounder);
  const F32x16 r = MulAdd(n, Fill(-kLn2Low), MulAdd(n, Fill(-kLn2High), clamped));
  F32x16 sum = Fill(1.0f / 5040);
  for (float coefficient : {1.0f / 720, 1.0f / 120, 1.0f / 24, 1.0f / 6, 0.5f, 1.0f, 1.0f}) {
    sum = MulAdd(sum, r, Fill(coefficient));
  }
  for (int i = 0; i < kParts; ++i) {
    const NativeI32 power = ((NativeI32)rounded.part[i] - kRounderBits + 127) << 23;
    const NativeF32 value = sum.part[i] * (NativeF32)power;
    sum.part[i] = x.part[i] < NativeF32{} + kLow ? NativeF32{} : value;
  }
  return sum;
}

// The act types. A Line is 16 lanes x kPack elements, as packed weights and the KV cache hold them;
// Dot adds the kPack products of every lane, the lower element first.
template <typename T>
struct Act;

template <>
struct Act<float> {
  static constexpr int kPack = 1;
  struct Line {
    F32x16 value;
  };
  static LORRY_LANES Line LoadLine(const float* from) { return {Load(from)}; }
  static LORRY_LANES Line LoadLine(const float* from, int count) { return {Load(from, count)}; }
  static LORRY_LANES Line Splat(const float* from) { return {Fill(*from)}; }
  static LORRY_LANES Line SplatLast(const float* from) { return Splat(from); }
  static LORRY_LANES F32x16 Dot(F32x16 sum, Line a, Line b) {
    return MulAdd(a.value, b.value, sum);
  }
  static LORRY_LANES void StoreLanes(float* to, F32x16 value) { Store(to, value); }
  static LORRY_LANES void StoreLanes(float* to, F32x16 value, int count) {
    Store(to, value, count);
  }
};

template <>
struct Act<BFloat16> {
  static constexpr int kPack = 2;

#if defined(__AVX512BF16__)
  struct Line {
    __m512i value;
  };
  static LORRY_LANES Line LoadLine(const BFloat16* from) { return {_mm512_loadu_si512(from)}; }
  static LORRY_LANES Line LoadLine(const BFloat16* from, int count) {
    return {_mm512_maskz_loadu_epi16(static_cast<__mmask32>((uint64_t{1} << count) - 1), from)};
  }
  static LORRY_LANES Line SplatBits(uint32_t bits) {
    return {_mm512_set1_epi32(static_cast<int>(bits))};
  }
  static LORRY_LANES F32x16 Dot(F32x16 sum, Line a, Line b) {
    return {_mm512_dpbf16_ps(sum.part[0], (__m512bh)a.value, (__m512bh)b.value)};
  }
  static LORRY_LANES void StoreLanes(BFloat16* to, F32x16 value) {
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(to), (__m256i)_mm512_cvtneps_pbh(value.part[0]));
  }
  static LORRY_LANES void StoreLanes(BFloat16* to, F32x16 value, int count) {
    _mm256_mask_storeu_epi16(to, static_cast<__mmask16>((1u << count) - 1),
                             (__m256i)_mm512_cvtneps_pbh(value.part[0]));
  }
#else
  struct Line {
    F32x16 even, odd;
  };
  static LORRY_LANES Line LoadLine(const BFloat16* from) {
    Line line;
    for (int i = 0; i < kParts; ++i) {
      NativeI32 pairs;
      std::memcpy(&pairs, from + i * sizeof(pairs) / sizeof(BFloat16), sizeof(pairs));
      line.even.part[i] = (NativeF32)(pairs << 16);
      line.odd.part[i] = (NativeF32)(pairs & static_cast<int32_t>(0xffff0000));
    }
    return line;
  }
  static LORRY_LANES Line LoadLine(const BFloat16* from, int count) {
    BFloat16 lanes[2 * kLanes] = {};
    std::memcpy(lanes, from, static_cast<size_t>(count) * sizeof(BFloat16));
    return LoadLine(lanes);
  }
  static LORRY_LANES Line SplatBits(uint32_t bits) {
    return {Fill(ToFloat(BFloat16{static_cast<uint16_t>(bits)})),
            Fill(ToFloat(BFloat16{static_cast<uint16_t>(bits >> 16)}))};
  }
  static LORRY_LANES F32x16 Dot(F32x16 sum, Line a, Line b) {
    return MulAdd(a.odd, b.odd, MulAdd(a.even, b.even, sum));
  }
  static LORRY_LANES void StoreLanes(BFloat16* to, F32x16 value) {
    using NativeU16 __attribute__((vector_size(kNativeLanes * 2))) = uint16_t;
    using NativeU32 __attribute__((vector_size(kNativeLanes * 4))) = uint32_t;
    for (int i = 0; i < kParts; ++i) {
      const NativeU32 bits = (NativeU32)value.part[i];
      const NativeU32 nearest_even = (bits + 0x7fff + (bits >> 16 & 1)) >> 16;
      const NativeU32 result = value.part[i] == value.part[i] ? nearest_even : (bits >> 16 | 0x40);
      const NativeU16 narrow = __builtin_convertvector(result, NativeU16);
      std::memcpy(static_cast<void*>(to + i * kNativeLanes), &narrow, sizeof(narrow));
    }
  }
  static LORRY_LANES void StoreLanes(BFloat16* to, F32x16 value, int count) {
    BFloat16 lanes[kLanes];
    StoreLanes(lanes, value);
    std::memcpy(to, lanes, static_cast<size_t>(count) * sizeof(BFloat16));
  }
#endif

  // One pair in all lanes; SplatLast takes the pair's second half as zero.
  static LORRY_LANES Line Splat(const BFloat16* from) {
    uint32_t bits;
    std::memcpy(&bits, from, sizeof(bits));
    return SplatBits(bits);
  }
  static LORRY_LANES Line SplatLast(const BFloat16* from) { return SplatBits(from->bits); }
};

}  // namespace
}  // namespace lorry::kernels
