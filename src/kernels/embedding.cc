#include "kernels/embedding.h"

#include <algorithm>

namespace lorry::kernels {

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

}  // namespace lorry::kernels
