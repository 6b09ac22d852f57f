// Token embeddings, from a plain table or from the packed output head when the two are tied.
#pragma once

#include <span>

#include "base/ids.h"
#include "device/stream.h"
#include "kernels/packed_matrix.h"

namespace lorry::kernels {

struct EmbeddingArgs {
  std::span<const TokenId> tokens;  // [rows], each in [0, vocab)
  PackedMatrix table;               // [vocab, hidden] packed
  float* out = nullptr;             // [rows, hidden] f32
};

void Embedding(const Stream& stream, const EmbeddingArgs& args);

}  // namespace lorry::kernels
