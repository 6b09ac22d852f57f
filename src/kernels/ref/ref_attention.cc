#include <algorithm>
#include <cmath>
#include <limits>

#include "kernels/ref/ref_kernels.h"

namespace lorry::kernels::ref {
namespace {

std::byte* PageOf(const KvView& kv, const SequenceRows& sequence, int position) {
  return kv.arena + sequence.pages[position / kv.layout.page_tokens] * kv.layout.PageBytes();
}

// Rotates one head of `head_dim` f32 by the angles of its position (half-split form) into `out`.
void Rotate(const RopeArgs& args, const float* in, int position, float* out) {
  const int half = args.kv.layout.head_dim / 2;
  const float* cos = args.cos + static_cast<ptrdiff_t>(position) * half;
  const float* sin = args.sin + static_cast<ptrdiff_t>(position) * half;
  for (int i = 0; i < half; ++i) {
    out[i] = in[i] * cos[i] - in[i + half] * sin[i];
    out[i + half] = in[i + half] * cos[i] + in[i] * sin[i];
  }
}

void StoreKv(const RopeArgs& args, const SequenceRows& sequence, int row, int kv_head) {
  const KvLayout& layout = args.kv.layout;
  const int position = sequence.first_position + row;
  const int slot = position % layout.page_tokens;
  const float* in = args.qkv + static_cast<ptrdiff_t>(sequence.row_begin + row) * args.qkv_stride;
  std::byte* page = PageOf(args.kv, sequence, position);
  std::byte* k_block = page + layout.KOffset(args.layer, kv_head, slot);
  std::byte* v_block = page + layout.VOffset(args.layer, kv_head, slot);
  float rotated[kMaxHeadDim];
  Rotate(args, in + args.k_column + kv_head * layout.head_dim, position, rotated);
  const float* v = in + args.v_column + kv_head * layout.head_dim;
  for (int dim = 0; dim < layout.head_dim; ++dim) {
    Set(k_block, layout.dtype, KIndex(layout.dtype, slot, dim), rotated[dim]);
    Set(v_block, layout.dtype, VIndex(layout.dtype, layout.head_dim, slot, dim), v[dim]);
  }
  if (!LastOfFreshBlock(sequence, row)) return;
  for (int empty = slot % kKvBlockTokens + 1; empty < kKvBlockTokens; ++empty) {
    for (int dim = 0; dim < layout.head_dim; ++dim) {
      Set(k_block, layout.dtype, KIndex(layout.dtype, empty, dim), 0);
      Set(v_block, layout.dtype, VIndex(layout.dtype, layout.head_dim, empty, dim), 0);
    }
  }
}

// scale * q . k of the token at `position`.
float Score(const AttentionArgs& args, const SequenceRows& sequence, int kv_head, ptrdiff_t q_begin,
            int position) {
  const KvLayout& layout = args.kv.layout;
  const int slot = position % layout.page_tokens;
  const std::byte* block =
      PageOf(args.kv, sequence, position) + layout.KOffset(args.layer, kv_head, slot);
  float sum = 0;
  for (int dim = 0; dim < layout.head_dim; ++dim) {
    sum += Get(args.q, layout.dtype, q_begin + dim) *
           Get(block, layout.dtype, KIndex(layout.dtype, slot, dim));
  }
  return sum * args.scale;
}

}  // namespace

void Rope(const RopeArgs& args, const SequenceRows& sequence, Range rows) {
  const KvLayout& layout = args.kv.layout;
  for (int row = rows.begin; row < rows.end; ++row) {
    const ptrdiff_t step_row = sequence.row_begin + row;
    float rotated[kMaxHeadDim];
    for (int head = 0; head < args.num_heads; ++head) {
      Rotate(args, args.qkv + step_row * args.qkv_stride + head * layout.head_dim,
             sequence.first_position + row, rotated);
      for (int dim = 0; dim < layout.head_dim; ++dim) {
        Set(args.q, layout.dtype, (step_row * args.num_heads + head) * layout.head_dim + dim,
            rotated[dim]);
      }
    }
    for (int kv_head = 0; kv_head < layout.num_kv_heads; ++kv_head)
      StoreKv(args, sequence, row, kv_head);
  }
}

void Attention(const AttentionArgs& args, const SequenceRows& sequence, int kv_head, Range rows) {
  const KvLayout& layout = args.kv.layout;
  const int group = args.num_heads / layout.num_kv_heads;
  for (int row = rows.begin; row < rows.end; ++row) {
    const int num_tokens = sequence.first_position + row + 1;
    for (int head = kv_head * group; head < (kv_head + 1) * group; ++head) {
      const ptrdiff_t q_begin =
          ((static_cast<ptrdiff_t>(sequence.row_begin) + row) * args.num_heads + head) *
          layout.head_dim;
      float max = -std::numeric_limits<float>::infinity();
      for (int token = 0; token < num_tokens; ++token) {
        max = std::max(max, Score(args, sequence, kv_head, q_begin, token));
      }
      float sum = 0;
      float out[kMaxHeadDim] = {};
      for (int token = 0; token < num_tokens; ++token) {
        const float weight = std::exp(Score(args, sequence, kv_head, q_begin, token) - max);
        const int slot = token % layout.page_tokens;
        const std::byte* block =
            PageOf(args.kv, sequence, token) + layout.VOffset(args.layer, kv_head, slot);
        sum += weight;
        for (int dim = 0; dim < layout.head_dim; ++dim) {
          out[dim] +=
              weight * Get(block, layout.dtype, VIndex(layout.dtype, layout.head_dim, slot, dim));
        }
      }
      for (int dim = 0; dim < layout.head_dim; ++dim) {
        Set(args.out, layout.dtype, q_begin + dim, out[dim] / sum);
      }
    }
  }
}

}  // namespace lorry::kernels::ref
