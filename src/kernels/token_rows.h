// Rows of the embedding or the output head that an adapter replaces, for that adapter's rows only.
#pragma once

#include <cstdint>
#include <span>

#include "base/ids.h"
#include "device/dtype.h"
#include "device/stream.h"

namespace lorry::kernels {

struct TokenTable {
  const int32_t* ids = nullptr;  // [count] ascending
  const void* rows = nullptr;    // [count, hidden] act
  int count = 0;
};

struct TokenEmbeddingArgs {
  std::span<const TokenId> tokens;  // [rows]
  TokenTable table;
  DType act = DType::kBF16;
  int hidden = 0;
  float* out = nullptr;  // [rows, hidden] f32: overwritten where the token is in the table
};

void TokenEmbedding(const TokenEmbeddingArgs& args);

struct TokenLogitsArgs {
  const void* x = nullptr;  // [rows, hidden] act
  int rows = 0;
  TokenTable table;
  DType act = DType::kBF16;
  int hidden = 0;
  float* y = nullptr;  // [rows, ...] f32, row stride y_stride: y[row, ids[i]] = x[row] . rows[i]
  int y_stride = 0;
};

// Each logit is summed in sixteen chains and these by pairs, whatever the rows.
void TokenLogits(const Stream& stream, const TokenLogitsArgs& args);

}  // namespace lorry::kernels
