#include "kernels/embedding.h"

#include <algorithm>

#include "base/check.h"

namespace lorry::kernels {
namespace {

inline float Widen(float value) { return value; }
inline float Widen(BFloat16 value) { return ToFloat(value); }

// One row: each output is one chain over the rank.
template <typename T>
void AddLoraRow(const EmbeddingLoraArgs& args, TokenId token, float* out) {
  constexpr int pack = sizeof(T) == 2 ? 2 : 1;
  const LoraPair& pair = args.pair;
  const T* a = static_cast<const T*>(pair.a) + static_cast<ptrdiff_t>(token) * pair.rank;
  const T* b = static_cast<const T*>(pair.b);
  const int lines = (pair.rank + pack - 1) / pack;
  for (int panel = 0; panel < NumPanels(pair.n); ++panel, b += lines * kPanel * pack) {
    float sums[kPanel] = {};
    for (int rank = 0; rank < pair.rank; ++rank) {
      const float shrunk = Widen(a[rank]);
      const T* line = b + rank / pack * kPanel * pack + rank % pack;
      for (int lane = 0; lane < kPanel; ++lane) sums[lane] += shrunk * Widen(line[lane * pack]);
    }
    const int lanes = std::min(kPanel, pair.n - panel * kPanel);
    for (int lane = 0; lane < lanes; ++lane) {
      float& value = out[panel * kPanel + lane];
      value += pair.scale * sums[lane];
      if (args.out_scale != nullptr) value *= args.out_scale[panel * kPanel + lane];
    }
  }
}

}  // namespace

void Embedding(const Stream& stream, const EmbeddingArgs& args) {
  const int num_rows = static_cast<int>(args.tokens.size());
  const PackedMatrix& table = args.table;
  // A packed row is spread over k / 2 lines, so it costs 16 times its bytes: tens of kilobytes a
  // token, a few microseconds. Worth a second thread from a handful of rows on.
  constexpr int kRowsPerItem = 4;
  stream.ParallelFor((num_rows + kRowsPerItem - 1) / kRowsPerItem, [&](int item_idx, int) {
    const int end = std::min(num_rows, (item_idx + 1) * kRowsPerItem);
    for (int row = item_idx * kRowsPerItem; row < end; ++row) {
      UnpackRow(table, args.tokens[row], args.out + static_cast<ptrdiff_t>(row) * table.k);
    }
  });
}

void EmbeddingLora(const Stream& stream, const EmbeddingLoraArgs& args) {
  CHECK(args.pair.rank >= 1 && args.pair.n >= 1);
  const int num_rows = static_cast<int>(args.tokens.size());
  constexpr int kRowsPerItem = 4;
  stream.ParallelFor((num_rows + kRowsPerItem - 1) / kRowsPerItem, [&](int item_idx, int) {
    const int end = std::min(num_rows, (item_idx + 1) * kRowsPerItem);
    for (int row = item_idx * kRowsPerItem; row < end; ++row) {
      float* out = args.out + static_cast<ptrdiff_t>(row) * args.pair.n;
      if (args.act == DType::kBF16) {
        AddLoraRow<BFloat16>(args, args.tokens[row], out);
      } else {
        AddLoraRow<float>(args, args.tokens[row], out);
      }
    }
  });
}

}  // namespace lorry::kernels
