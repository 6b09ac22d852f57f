#include "kernels/rope.h"

#include <algorithm>

#include "base/check.h"
#include "kernels/sequence_ranges.h"
#include "kernels/table.h"

namespace lorry::kernels {

void RopeAndStoreKv(const Stream& stream, const RopeArgs& args) {
  CheckKvView(args.kv, args.layer);
  CHECK(args.num_heads >= 1);
  const int num_rows = CheckSequences(args.sequences);
  const int heads = args.num_heads + 2 * args.kv.layout.num_kv_heads;
  constexpr int kElementsPerItem = 4096;  // about two microseconds
  const int rows_per_item = std::max(1, kElementsPerItem / (heads * args.kv.layout.head_dim));
  const auto rope = Table().rope;
  stream.ParallelFor((num_rows + rows_per_item - 1) / rows_per_item, [&](int item_idx, int) {
    const Range rows{item_idx * rows_per_item, std::min(num_rows, (item_idx + 1) * rows_per_item)};
    ForSequenceRows(args.sequences, rows,
                    [&](const SequenceRows& sequence, Range part) { rope(args, sequence, part); });
  });
}

}  // namespace lorry::kernels
