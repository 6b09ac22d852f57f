#include "kernels/attention.h"

#include <algorithm>

#include "base/check.h"
#include "kernels/sequence_ranges.h"
#include "kernels/table.h"

namespace lorry::kernels {
namespace {

// Query-key pairs over all heads and the head dimension: what the op's time goes with.
double Work(const AttentionArgs& args) {
  double tokens = 0;
  for (const SequenceRows& sequence : args.sequences) {
    tokens += sequence.num_rows * (sequence.first_position + 0.5 * (sequence.num_rows + 1));
  }
  return tokens * args.num_heads * args.kv.layout.head_dim;
}

}  // namespace

void PagedAttention(const Stream& stream, const AttentionArgs& args) {
  CheckKvView(args.kv, args.layer);
  const int num_kv_heads = args.kv.layout.num_kv_heads;
  CHECK(args.num_heads >= 1);
  CHECK_EQ(args.num_heads % num_kv_heads, 0);
  const int num_rows = CheckSequences(args.sequences);
  if (num_rows == 0) return;

  // Items are (rows, kv head): single rows as long as they are few, tiles of prompt rows otherwise.
  // Small steps stay on this thread: waking another one takes as long.
  constexpr double kWorkWorthThreads = 200e3;
  constexpr int kRowsPerTile = 16;
  const int rows_per_item =
      std::clamp(num_rows * num_kv_heads / (16 * stream.num_threads()), 1, kRowsPerTile);
  const int num_row_items = (num_rows + rows_per_item - 1) / rows_per_item;
  // Later rows of a prompt see more context: longest items first, and dealt to the threads' shares
  // in turn. Few rows stay with the thread that wrote their K and V.
  const int num_shares = rows_per_item > 1 ? stream.num_threads() : 1;
  const int items_per_share = (num_row_items + num_shares - 1) / num_shares;
  const int num_items = num_shares * items_per_share * num_kv_heads;
  const auto attention = Table().attention;
  const auto run_item = [&](int item_idx, int) {
    const int place = item_idx / num_kv_heads;
    const int dealt = place % items_per_share * num_shares + place / items_per_share;
    if (dealt >= num_row_items) return;
    const int begin = (num_row_items - 1 - dealt) * rows_per_item;
    const Range rows{begin, std::min(num_rows, begin + rows_per_item)};
    ForSequenceRows(args.sequences, rows, [&](const SequenceRows& sequence, Range part) {
      attention(args, sequence, item_idx % num_kv_heads, part);
    });
  };
  if (Work(args) < kWorkWorthThreads) {
    for (int i = 0; i < num_items; ++i) run_item(i, 0);
  } else {
    stream.ParallelFor(num_items, run_item);
  }
}

}  // namespace lorry::kernels
