// The entries of the reference table, and access to act elements by index.
#pragma once

#include "kernels/table.h"

namespace lorry::kernels::ref {

inline float Get(const void* data, DType dtype, ptrdiff_t idx) {
  if (dtype == DType::kF32) return static_cast<const float*>(data)[idx];
  return ToFloat(static_cast<const BFloat16*>(data)[idx]);
}

inline void Set(void* data, DType dtype, ptrdiff_t idx, float value) {
  if (dtype == DType::kF32) {
    static_cast<float*>(data)[idx] = value;
  } else {
    static_cast<BFloat16*>(data)[idx] = ToBFloat16(value);
  }
}

// Where element (panel, k_idx, lane) of a packed matrix lies (kernels/packed_matrix.h), in
// elements.
inline ptrdiff_t PackedIndex(DType dtype, int k, int panel, int k_idx, int lane) {
  const int pack = dtype == DType::kBF16 ? 2 : 1;
  const ptrdiff_t lines = (k + pack - 1) / pack;
  return ((panel * lines + k_idx / pack) * kPanel + lane) * pack + k_idx % pack;
}

// Where dimension `dim` of token `slot` lies in K's and V's block (kernels/kv_layout.h), in
// elements.
inline ptrdiff_t KIndex(DType dtype, int slot, int dim) {
  const int pack = dtype == DType::kBF16 ? 2 : 1;
  return (dim / pack * kKvBlockTokens + slot % kKvBlockTokens) * pack + dim % pack;
}
inline ptrdiff_t VIndex(DType dtype, int head_dim, int slot, int dim) {
  const int pack = dtype == DType::kBF16 ? 2 : 1;
  const int token = slot % kKvBlockTokens;
  return (token / pack * head_dim + dim) * pack + token % pack;
}

void Product(const LinearArgs& args, Range rows, Range panels);
void Shrink(const LinearArgs& args, const LoraTask& task, Range rows, Range ranks, void* shrunk);
void Expand(const LinearArgs& args, const LoraTask& task, Range rows, Range panels,
            const void* shrunk);
void ScaleAndShift(const LinearArgs& args, const LoraTask& task, Range rows, Range panels);
void RmsNorm(const RmsNormArgs& args, Range rows);
void Rope(const RopeArgs& args, const SequenceRows& sequence, Range rows);
void Attention(const AttentionArgs& args, const SequenceRows& sequence, int kv_head, Range rows);
void SiluMul(const SiluMulArgs& args, Range panels);

}  // namespace lorry::kernels::ref
