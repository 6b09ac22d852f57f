// What the engine hands to the model for one step. Views only: the model owns none of it.
//
// Worked example, a step of three sequences, two of them on adapters P and Q:
//     sequence          A (base, decode)   B (adapter P, prompt chunk of 3)   C (adapter Q, decode)
//     tokens            [ 17               | 5  8  2                          | 91 ]
//     sequences         row 0, 1 row       | row 1, 3 rows                    | row 4, 1 row
//     first_position    40                 | 16                               | 7
//     segments                               rows 1-4 -> P                      rows 4-5 -> Q
//     logit_rows        [0, 3, 4]          (B's last row, if the chunk ends its prompt)
// Rows of one adapter lie together (base rows first), so an adapter's weights are read once a step.
//
// A weighted sum of adapters, "P + 0.5 Q", is two segments of the same rows, in the order of the
// sum.
#pragma once

#include <cstdint>
#include <span>

#include "base/ids.h"
#include "kernels/kv_layout.h"

namespace lorry::model {

class AdapterWeights;  // model/adapter_weights.h

// Adapters that may stand over one row.
inline constexpr int kMaxAdaptersPerRow = 8;

struct AdapterSegment {
  int row_begin = 0;
  int row_end = 0;
  const AdapterWeights* adapter = nullptr;  // never null
  float weight = 1;  // of its delta; not 1, or rows of another segment too: only if composable
};

struct ForwardBatch {
  std::span<const TokenId> tokens;                   // [rows]
  std::span<const kernels::SequenceRows> sequences;  // ascending, covering all rows
  // Ascending by row_begin. Two are disjoint or of the same rows; rows of the base are in none.
  std::span<const AdapterSegment> segments;
  std::span<const int32_t> logit_rows;  // [logit_rows] ascending
  kernels::KvView kv;
};

}  // namespace lorry::model
