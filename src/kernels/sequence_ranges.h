// Walks a range of a step's rows sequence by sequence.
#pragma once

#include <algorithm>
#include <span>

#include "kernels/kv_layout.h"
#include "kernels/table.h"

namespace lorry::kernels {

// Calls visit(sequence, rows of it) for the parts of `rows` (of the step) in each sequence.
// Sequences ascend by row.
template <typename Visit>
void ForSequenceRows(std::span<const SequenceRows> sequences, Range rows, const Visit& visit) {
  auto it = std::upper_bound(sequences.begin(), sequences.end(), rows.begin,
                             [](int row, const SequenceRows& sequence) {
                               return row < sequence.row_begin + sequence.num_rows;
                             });
  for (; it != sequences.end() && it->row_begin < rows.end; ++it) {
    const Range part{std::max(rows.begin - it->row_begin, 0),
                     std::min(rows.end - it->row_begin, it->num_rows)};
    if (part.begin < part.end) visit(*it, part);
  }
}

// Checks that sequences ascend without overlapping; returns one past their last row.
int CheckSequences(std::span<const SequenceRows> sequences);
void CheckKvView(const KvView& kv, int layer);

}  // namespace lorry::kernels
