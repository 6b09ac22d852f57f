#include "kernels/token_rows.h"

#include <algorithm>

#include "base/check.h"

namespace lorry::kernels {
namespace {

inline float Widen(float value) { return value; }
inline float Widen(BFloat16 value) { return ToFloat(value); }

template <typename T>
float Dot(const T* a, const T* b, int count) {
  constexpr int kChains = 16;
  float sums[kChains] = {};
  int i = 0;
  for (; i + kChains <= count; i += kChains) {
    for (int chain = 0; chain < kChains; ++chain) {
      sums[chain] += Widen(a[i + chain]) * Widen(b[i + chain]);
    }
  }
  for (int chain = 0; i < count; ++i, ++chain) sums[chain] += Widen(a[i]) * Widen(b[i]);
  for (int half = kChains / 2; half > 0; half /= 2) {
    for (int chain = 0; chain < half; ++chain) sums[chain] += sums[chain + half];
  }
  return sums[0];
}

template <typename T>
void EmbedAs(const TokenEmbeddingArgs& args) {
  const TokenTable& table = args.table;
  for (size_t row = 0; row < args.tokens.size(); ++row) {
    const int32_t* found = std::lower_bound(table.ids, table.ids + table.count, args.tokens[row]);
    if (found == table.ids + table.count || *found != args.tokens[row]) continue;
    const T* from = static_cast<const T*>(table.rows) + (found - table.ids) * args.hidden;
    float* out = args.out + static_cast<ptrdiff_t>(row) * args.hidden;
    for (int i = 0; i < args.hidden; ++i) out[i] = Widen(from[i]);
  }
}

template <typename T>
void LogitsOf(const TokenLogitsArgs& args, int row, int begin, int end) {
  const T* x = static_cast<const T*>(args.x) + static_cast<ptrdiff_t>(row) * args.hidden;
  const T* rows = static_cast<const T*>(args.table.rows);
  float* y = args.y + static_cast<ptrdiff_t>(row) * args.y_stride;
  for (int i = begin; i < end; ++i) {
    y[args.table.ids[i]] = Dot(x, rows + static_cast<ptrdiff_t>(i) * args.hidden, args.hidden);
  }
}

}  // namespace

void TokenEmbedding(const TokenEmbeddingArgs& args) {
  CHECK(args.act == DType::kBF16 || args.act == DType::kF32);
  if (args.act == DType::kBF16) return EmbedAs<BFloat16>(args);
  EmbedAs<float>(args);
}

void TokenLogits(const Stream& stream, const TokenLogitsArgs& args) {
  CHECK(args.act == DType::kBF16 || args.act == DType::kF32);
  CHECK_LT(args.table.ids[args.table.count - 1], args.y_stride);
  constexpr int kTokensPerItem = 64;
  const int blocks = (args.table.count + kTokensPerItem - 1) / kTokensPerItem;
  stream.ParallelFor(args.rows * blocks, [&](int item, int) {
    const int begin = item % blocks * kTokensPerItem;
    const int end = std::min(args.table.count, begin + kTokensPerItem);
    if (args.act == DType::kBF16) return LogitsOf<BFloat16>(args, item / blocks, begin, end);
    LogitsOf<float>(args, item / blocks, begin, end);
  });
}

}  // namespace lorry::kernels
