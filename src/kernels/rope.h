// Rotary embedding of q and k (Su et al. 2021, in the half-split form of Hugging Face) and the
// write of k, v into their pages.
#pragma once

#include <span>

#include "device/stream.h"
#include "kernels/kv_layout.h"

namespace lorry::kernels {

struct RopeArgs {
  const float* qkv = nullptr;  // [rows, qkv_stride] f32: q at 0, k at k_column, v at v_column
  int qkv_stride = 0;
  int k_column = 0;
  int v_column = 0;
  int num_heads = 0;
  const float* cos = nullptr;  // [max_positions, head_dim/2] f32
  const float* sin = nullptr;  // [max_positions, head_dim/2] f32
  std::span<const SequenceRows> sequences;
  int layer = 0;
  KvView kv;
  void* q = nullptr;  // [rows, num_heads * head_dim] act (= kv dtype)
};

void RopeAndStoreKv(const Stream& stream, const RopeArgs& args);

}  // namespace lorry::kernels
