// Norms of W + B A, which DoRA divides by. When an adapter is loaded, not in a step.
#pragma once

namespace lorry::kernels {

struct DeltaRows {
  const float* w = nullptr;  // [n, k] f32
  const float* b = nullptr;  // [n, rank] f32, the scaling in it
  const float* a = nullptr;  // [rank, k] f32
  int n = 0;
  int k = 0;
  int rank = 0;
};

// norms[i] = the length of row i of W + B A.
void RowNorms(const DeltaRows& args, float* norms);

// squares[j] += the square of column j's length, over these rows.
void AddColumnSquares(const DeltaRows& args, double* squares);

}  // namespace lorry::kernels
