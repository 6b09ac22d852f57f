#include "merge/low_rank.h"

#include <Eigen/Dense>
#include <algorithm>

#include "base/check.h"

namespace lorry::merge {
namespace {

using RowMajorF32 = Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
using ConstMap = Eigen::Map<const RowMajorF32>;

ConstMap MapA(const LowRank& factors) {
  return ConstMap(factors.a.data(), factors.rank, factors.in_features);
}
ConstMap MapB(const LowRank& factors) {
  return ConstMap(factors.b.data(), factors.out_features, factors.rank);
}

// m = q * r; q has min(rows, columns) columns, which are orthonormal.
struct ThinQr {
  Eigen::MatrixXd q;
  Eigen::MatrixXd r;
};

ThinQr Decompose(const Eigen::MatrixXd& m) {
  const Eigen::Index k = std::min(m.rows(), m.cols());
  const Eigen::HouseholderQR<Eigen::MatrixXd> qr(m);
  return {.q = qr.householderQ() * Eigen::MatrixXd::Identity(m.rows(), k),
          .r = qr.matrixQR().topRows(k).triangularView<Eigen::Upper>()};
}

std::vector<float> ToRowMajorF32(const Eigen::MatrixXd& m) {
  std::vector<float> values(static_cast<size_t>(m.size()));
  Eigen::Map<RowMajorF32>(values.data(), m.rows(), m.cols()) = m.cast<float>();
  return values;
}

}  // namespace

void ProductRows(const LowRank& factors, int64_t first_row, int64_t num_rows,
                 std::span<float> out) {
  CHECK_LE(first_row + num_rows, factors.out_features);
  CHECK_EQ(out.size(), static_cast<size_t>(num_rows * factors.in_features));
  Eigen::Map<RowMajorF32> rows(out.data(), num_rows, factors.in_features);
  rows.noalias() = MapB(factors).middleRows(first_row, num_rows) * MapA(factors);
  rows *= factors.scale;
}

LowRank Transposed(const LowRank& factors) {
  LowRank result{.rank = factors.rank,
                 .in_features = factors.out_features,
                 .out_features = factors.in_features,
                 .scale = factors.scale};
  result.a.resize(factors.b.size());
  result.b.resize(factors.a.size());
  Eigen::Map<RowMajorF32>(result.a.data(), factors.rank, factors.out_features) =
      MapB(factors).transpose();
  Eigen::Map<RowMajorF32>(result.b.data(), factors.in_features, factors.rank) =
      MapA(factors).transpose();
  return result;
}

LowRank TruncatedSum(std::span<const LowRank> terms, int64_t rank) {
  CHECK(!terms.empty());
  CHECK_GE(rank, 1);
  int64_t total_rank = 0;
  for (const LowRank& term : terms) total_rank += term.rank;
  const int64_t in = terms.front().in_features, out = terms.front().out_features;
  Eigen::MatrixXd left(out, total_rank), right(in, total_rank);  // the sum is left * right^T
  int64_t column = 0;
  for (const LowRank& term : terms) {
    left.middleCols(column, term.rank) =
        MapB(term).cast<double>() * static_cast<double>(term.scale);
    right.middleCols(column, term.rank) = MapA(term).transpose().cast<double>();
    column += term.rank;
  }
  const ThinQr l = Decompose(left), r = Decompose(right);
  const Eigen::MatrixXd core = l.r * r.r.transpose();  // the sum is l.q * core * r.q^T
  const Eigen::BDCSVD<Eigen::MatrixXd> svd(core, Eigen::ComputeThinU | Eigen::ComputeThinV);
  const Eigen::Index kept = std::min<Eigen::Index>(rank, svd.singularValues().size());
  const Eigen::MatrixXd b =
      l.q * (svd.matrixU().leftCols(kept) * svd.singularValues().head(kept).asDiagonal());
  const Eigen::MatrixXd a = svd.matrixV().leftCols(kept).transpose() * r.q.transpose();
  return {.rank = kept,
          .in_features = in,
          .out_features = out,
          .a = ToRowMajorF32(a),
          .b = ToRowMajorF32(b)};
}

}  // namespace lorry::merge
