// The change that an adapter makes to one weight matrix, as a product of two thin matrices, and the
// linear algebra on such products. The only file that sees Eigen's matrices.
// Owns: the factors. Thread: any. Never: makes the whole product; it comes in blocks of rows.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace lorry::merge {

// scale * B * A, of shape [out, in].
struct LowRank {
  int64_t rank = 0;
  int64_t in_features = 0;
  int64_t out_features = 0;
  float scale = 1.0f;
  std::vector<float> a;  // [rank, in] f32
  std::vector<float> b;  // [out, rank] f32
};

// Rows [first_row, first_row + num_rows) of the product into `out`, [num_rows, in] f32: the sum
// over the rank in f32, then times scale.
void ProductRows(const LowRank& factors, int64_t first_row, int64_t num_rows, std::span<float> out);

// The factors of the transposed product.
LowRank Transposed(const LowRank& factors);

// A matrix of at most this rank that is as close to the sum of all products as any, by the singular
// value decomposition: A the right singular vectors, B the left ones times the singular values.
// Through the thin factors in f64: costs (out + in) * R^2 for a total rank R, where decomposing the
// whole matrix would cost out * in * min(out, in).
LowRank TruncatedSum(std::span<const LowRank> terms, int64_t rank);

}  // namespace lorry::merge
