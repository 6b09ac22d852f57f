// Token embeddings, from a plain table or from the packed output head when the two are tied.
#pragma once

#include <span>

#include "base/ids.h"
#include "device/stream.h"
#include "kernels/linear.h"
#include "kernels/packed_matrix.h"

namespace lorry::kernels {

struct EmbeddingArgs {
  std::span<const TokenId> tokens;  // [rows], each in [0, vocab)
  PackedMatrix table;               // [vocab, hidden] packed
  float* out = nullptr;             // [rows, hidden] f32
};

void Embedding(const Stream& stream, const EmbeddingArgs& args);

// An adapter's part in the embedding of its rows: out = (out + scale A[token] B^T) * out_scale.
struct EmbeddingLoraArgs {
  std::span<const TokenId> tokens;  // [rows]
  LoraPair pair;             // a: [vocab, rank] act, a row per token; b packed [hidden, rank]
  DType act = DType::kBF16;  // of a and b
  const float* out_scale = nullptr;  // [hidden padded to 16] f32 (DoRA), or null
  float* out = nullptr;              // [rows, hidden] f32
};

void EmbeddingLora(const Stream& stream, const EmbeddingLoraArgs& args);

}  // namespace lorry::kernels
