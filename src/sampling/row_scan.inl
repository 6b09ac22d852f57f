// The body of row_scan_*.cc. Calls nothing from the standard library: an inline function compiled
// here for AVX must not be the one that the linker picks for everybody.
#include "sampling/row_scan.h"

namespace lorry::sampling {
namespace {

constexpr int kLanes = 16;
constexpr float kMinusInf = -__builtin_inff();

// Calls visit(block, 64 logits); the last block is filled up with -inf.
template <typename Visit>
inline void ForEachBlock(const float* logits, int num_tokens, const Visit& visit) {
  const int num_full = num_tokens / kBlockTokens;
  for (int block = 0; block < num_full; ++block) visit(block, logits + block * kBlockTokens);
  if (num_full * kBlockTokens == num_tokens) return;
  float rest[kBlockTokens];
  for (int i = 0; i < kBlockTokens; ++i) {
    const int token = num_full * kBlockTokens + i;
    rest[i] = token < num_tokens ? logits[token] : kMinusInf;
  }
  visit(num_full, rest);
}

void BlockMax(const float* logits, int num_tokens, float* block_max) {
  ForEachBlock(logits, num_tokens, [block_max](int block, const float* x) {
    float lanes[kLanes];
    for (int lane = 0; lane < kLanes; ++lane) lanes[lane] = kMinusInf;
    for (int i = 0; i < kBlockTokens; i += kLanes) {
      for (int lane = 0; lane < kLanes; ++lane) {
        lanes[lane] = x[i + lane] > lanes[lane] ? x[i + lane] : lanes[lane];  // false for NaN
      }
    }
    for (int width = kLanes / 2; width > 0; width /= 2) {
      for (int lane = 0; lane < width; ++lane) {
        lanes[lane] = lanes[lane + width] > lanes[lane] ? lanes[lane + width] : lanes[lane];
      }
    }
    block_max[block] = lanes[0];
  });
}

void BlockWeight(const float* logits, int num_tokens, WeightScale scale, float* block_sum) {
  ForEachBlock(logits, num_tokens, [scale, block_sum](int block, const float* x) {
    float lanes[kLanes];
    for (int lane = 0; lane < kLanes; ++lane) lanes[lane] = 0;
    for (int i = 0; i < kBlockTokens; i += kLanes) {
      for (int lane = 0; lane < kLanes; ++lane) lanes[lane] += Weight(x[i + lane], scale);
    }
    for (int width = kLanes / 2; width > 0; width /= 2) {
      for (int lane = 0; lane < width; ++lane) lanes[lane] += lanes[lane + width];
    }
    block_sum[block] = lanes[0];
  });
}

}  // namespace
}  // namespace lorry::sampling
