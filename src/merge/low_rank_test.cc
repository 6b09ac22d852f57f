#include "merge/low_rank.h"

#include <gtest/gtest.h>

#include <cmath>

#include "base/random.h"

namespace lorry::merge {
namespace {

LowRank Random(uint64_t seed, int64_t out, int64_t rank, int64_t in) {
  LowRank factors{.rank = rank, .in_features = in, .out_features = out, .scale = 0.5f};
  for (int64_t i = 0; i < rank * in; ++i) factors.a.push_back(UniformAt(seed, 0, i) - 0.5);
  for (int64_t i = 0; i < out * rank; ++i) factors.b.push_back(UniformAt(seed, 1, i) - 0.5);
  return factors;
}

// The product by three loops, [out, in].
std::vector<double> Slowly(const LowRank& f) {
  std::vector<double> product(f.out_features * f.in_features);
  for (int64_t row = 0; row < f.out_features; ++row) {
    for (int64_t k = 0; k < f.rank; ++k) {
      for (int64_t column = 0; column < f.in_features; ++column) {
        product[row * f.in_features + column] +=
            static_cast<double>(f.scale) * f.b[row * f.rank + k] * f.a[k * f.in_features + column];
      }
    }
  }
  return product;
}

double Distance(const std::vector<double>& x, const std::vector<double>& y) {
  double sum = 0;
  for (size_t i = 0; i < x.size(); ++i) sum += (x[i] - y[i]) * (x[i] - y[i]);
  return std::sqrt(sum);
}

TEST(LowRankTest, ProductRowsAreThoseOfTheProduct) {
  const LowRank factors = Random(1, 11, 3, 7);
  const std::vector<double> expected = Slowly(factors);
  for (int64_t first = 0; first < 11; first += 4) {
    const int64_t count = std::min<int64_t>(4, 11 - first);
    std::vector<float> rows(count * 7);
    ProductRows(factors, first, count, rows);
    for (size_t i = 0; i < rows.size(); ++i) EXPECT_NEAR(rows[i], expected[first * 7 + i], 1e-6);
  }
}

TEST(LowRankTest, TransposedIsTheTransposedProduct) {
  const LowRank factors = Random(1, 5, 2, 3);
  const std::vector<double> product = Slowly(factors), transposed = Slowly(Transposed(factors));
  for (int64_t row = 0; row < 5; ++row) {
    for (int64_t column = 0; column < 3; ++column) {
      EXPECT_EQ(transposed[column * 5 + row], product[row * 3 + column]);
    }
  }
}

TEST(LowRankTest, WithEnoughRankTheSumIsExact) {
  const std::vector<LowRank> terms = {Random(1, 12, 3, 9), Random(2, 12, 2, 9)};
  std::vector<double> expected = Slowly(terms[0]);
  const std::vector<double> second = Slowly(terms[1]);
  for (size_t i = 0; i < expected.size(); ++i) expected[i] += second[i];
  for (int64_t rank : {5, 8}) {
    const LowRank sum = TruncatedSum(terms, rank);
    EXPECT_EQ(sum.rank, 5);
    EXPECT_LT(Distance(Slowly(sum), expected), 1e-5);
  }
}

TEST(LowRankTest, TotalRankAboveBothSides) {
  const std::vector<LowRank> terms = {Random(1, 4, 3, 6), Random(2, 4, 3, 6)};
  const LowRank sum = TruncatedSum(terms, 6);
  EXPECT_EQ(sum.rank, 4);
  std::vector<double> expected = Slowly(terms[0]);
  const std::vector<double> second = Slowly(terms[1]);
  for (size_t i = 0; i < expected.size(); ++i) expected[i] += second[i];
  EXPECT_LT(Distance(Slowly(sum), expected), 1e-5);
}

TEST(LowRankTest, TruncationIsTheBestOfItsRank) {
  // Orthogonal directions of known size: cutting to rank 2 must lose the smallest, 1, alone.
  LowRank term{.rank = 3, .in_features = 4, .out_features = 3};
  term.a = {1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 1};
  term.b = {0, 3, 0, 1, 0, 0, 0, 0, 7};  // b's columns: e1, 3 e0, 7 e2
  const LowRank cut = TruncatedSum(std::vector{term}, 2);
  EXPECT_EQ(cut.rank, 2);
  EXPECT_NEAR(Distance(Slowly(cut), Slowly(term)), 1.0, 1e-6);
}

}  // namespace
}  // namespace lorry::merge
