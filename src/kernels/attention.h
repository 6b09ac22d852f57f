// Causal grouped-query attention over paged K and V, for decode rows and prompt chunks alike.
//
// Bits: each (row, head) runs an online softmax (Milakov & Gimelshein 2018) over blocks of fixed
// token boundaries counted from position 0, in order, so a row's result does not depend on the
// chunk that it came in or on its neighbours.
#pragma once

#include <span>

#include "device/stream.h"
#include "kernels/kv_layout.h"

namespace lorry::kernels {

struct AttentionArgs {
  const void* q = nullptr;  // [rows, num_heads * head_dim] act, after the rotary embedding
  int num_heads = 0;        // a multiple of kv.layout.num_kv_heads
  float scale = 0;          // 1 / sqrt(head_dim)
  std::span<const SequenceRows> sequences;
  int layer = 0;
  KvView kv;            // holds the step's own k and v already
  void* out = nullptr;  // [rows, num_heads * head_dim] act
};

void PagedAttention(const Stream& stream, const AttentionArgs& args);

}  // namespace lorry::kernels
