// How the KV cache of one page lies in memory.
//
// A page holds page_tokens tokens (a multiple of 16) of one sequence, all layers of them:
//     [layer][kv_head]{ K, V }, each of page_tokens x head_dim act elements, in blocks of 16
//     tokens: K block: [head_dim/P][16 tokens][P]     one line = 16 tokens x 2 dims: 16 scores grow
//     side by side V block: [16/P tokens][head_dim][P]     P = 2 for bf16 (pairs for vdpbf16ps), 1
//     for f32
#pragma once

#include <cstddef>

#include "device/dtype.h"

namespace lorry::kernels {

inline constexpr int kKvBlockTokens = 16;
inline constexpr int kMaxHeadDim =
    512;  // what attention keeps on its stack; the families' largest is 256

struct KvLayout {
  int num_layers = 0;
  int num_kv_heads = 0;
  int head_dim = 0;      // even, 2 .. kMaxHeadDim
  int page_tokens = 16;  // a multiple of kKvBlockTokens
  DType dtype = DType::kBF16;

  size_t BlockBytes() const {  // K or V of 16 tokens of one head
    return static_cast<size_t>(kKvBlockTokens) * head_dim * DTypeBytes(dtype);
  }
  size_t HeadBytes() const { return 2 * BlockBytes() * (page_tokens / kKvBlockTokens); }
  size_t LayerBytes() const { return HeadBytes() * num_kv_heads; }
  size_t PageBytes() const { return LayerBytes() * num_layers; }
  // Offsets inside a page of the K / V block that holds token `slot` (0 <= slot < page_tokens).
  size_t KOffset(int layer, int kv_head, int slot) const {
    return layer * LayerBytes() + kv_head * HeadBytes() + slot / kKvBlockTokens * BlockBytes();
  }
  size_t VOffset(int layer, int kv_head, int slot) const {
    return KOffset(layer, kv_head, slot) + HeadBytes() / 2;
  }
};

// The page tables of a step. Pages are indices into one arena.
struct KvView {
  std::byte* arena = nullptr;  // [pages][layout.PageBytes()]
  KvLayout layout;
};

// One sequence's rows in a step: rows [row_begin, row_begin + num_rows) are its positions
// [first_position, first_position + num_rows).
struct SequenceRows {
  int row_begin = 0;
  int num_rows = 0;
  int first_position = 0;
  const int32_t* pages =
      nullptr;  // [ceil((first_position + num_rows) / page_tokens)] i32 page indices
};

}  // namespace lorry::kernels
