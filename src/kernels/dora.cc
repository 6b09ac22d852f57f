#include "kernels/dora.h"

#include <cmath>
#include <cstddef>
#include <vector>

namespace lorry::kernels {
namespace {

// One row of W + B A into `row`.
void SumRow(const DeltaRows& args, int i, float* row) {
  const float* w = args.w + static_cast<ptrdiff_t>(i) * args.k;
  for (int j = 0; j < args.k; ++j) row[j] = 0;
  for (int rank = 0; rank < args.rank; ++rank) {
    const float b = args.b[static_cast<ptrdiff_t>(i) * args.rank + rank];
    const float* a = args.a + static_cast<ptrdiff_t>(rank) * args.k;
    for (int j = 0; j < args.k; ++j) row[j] += b * a[j];
  }
  for (int j = 0; j < args.k; ++j) row[j] += w[j];
}

}  // namespace

void RowNorms(const DeltaRows& args, float* norms) {
  std::vector<float> row(args.k);
  for (int i = 0; i < args.n; ++i) {
    SumRow(args, i, row.data());
    double squares = 0;
    for (float value : row) squares += static_cast<double>(value) * value;
    norms[i] = static_cast<float>(std::sqrt(squares));
  }
}

void AddColumnSquares(const DeltaRows& args, double* squares) {
  std::vector<float> row(args.k);
  for (int i = 0; i < args.n; ++i) {
    SumRow(args, i, row.data());
    for (int j = 0; j < args.k; ++j) squares[j] += static_cast<double>(row[j]) * row[j];
  }
}

}  // namespace lorry::kernels
