// The passes over a whole row of logits, by blocks: what is large is found, and summed, without
// sorting anything. Compiled for several instruction sets with the same bits from each: comparisons
// are exact, sums go over 16 lanes and then over the blocks, and nothing is contracted.
#pragma once

#include <cstdint>

namespace lorry::sampling {

constexpr int kBlockTokens = 64;
constexpr int NumBlocks(int num_tokens) { return (num_tokens + kBlockTokens - 1) / kBlockTokens; }

// weight = 2^((logit - max) * scale); 1 for the largest; 0 below 2^-126, for -inf and NaN.
struct WeightScale {
  float max = 0;
  float scale = 1;  // log2(e) / temperature
};

struct RowScan {
  // block_max[b] = the largest logit of block b, -inf if all are NaN.
  void (*block_max)(const float* logits, int num_tokens, float* block_max);
  // block_sum[b] = the sum of block b's weights.
  void (*block_weight)(const float* logits, int num_tokens, WeightScale scale, float* block_sum);
};

const RowScan& SelectedRowScan();  // for kernels::SelectedIsa()

extern const RowScan kRowScanPortable;
extern const RowScan kRowScanAvx2;
extern const RowScan kRowScanAvx512;

// One logit's weight, with the bits that block_weight sums. Static: each instruction set has its
// own.
[[maybe_unused]] static inline float Weight(float logit, WeightScale scale) {
  constexpr float kRound =
      12582912.0f;  // 1.5 * 2^23: adding it leaves the nearest integer in the low bits
  const float x = (logit - scale.max) * scale.scale;
  const float shifted = x + kRound;
  const float f = x - (shifted - kRound);  // [-0.5, 0.5]
  // 2^f by its Taylor series, ln(2)^n / n!: the first term left out is below 2^-23.9 of the result
  float p = 1.5403530e-4f;
  p = p * f + 1.3333558e-3f;
  p = p * f + 9.6181291e-3f;
  p = p * f + 5.5504109e-2f;
  p = p * f + 2.4022651e-1f;
  p = p * f + 6.9314718e-1f;
  p = p * f + 1.0f;
  const uint32_t bits =
      __builtin_bit_cast(uint32_t, p) + (__builtin_bit_cast(uint32_t, shifted) << 23);
  return x > -126.0f ? __builtin_bit_cast(float, bits) : 0.0f;
}

}  // namespace lorry::sampling
