#include "merge/combine.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <numeric>

namespace lorry::merge {
namespace {

// An adapter's module whose numbers live as long as it.
class TestModule {
 public:
  TestModule(std::vector<float> a, std::vector<float> b, int64_t rank, double scaling)
      : a_(std::move(a)), b_(std::move(b)) {
    module.name = "model.layers.0.mlp.up_proj";
    module.rank = rank;
    module.scaling = scaling;
    module.in_features = static_cast<int64_t>(a_.size()) / rank;
    module.out_features = static_cast<int64_t>(b_.size()) / rank;
    module.a = {.shape = {rank, module.in_features}, .bytes = std::as_bytes(std::span(a_))};
    module.b = {.shape = {module.out_features, rank}, .bytes = std::as_bytes(std::span(b_))};
  }
  TestModule(const TestModule&) = delete;

  formats::AdapterModule module;

 private:
  std::vector<float> a_, b_;
};

std::vector<float> Product(const LowRank& factors) {
  std::vector<float> product(factors.out_features * factors.in_features);
  ProductRows(factors, 0, factors.out_features, product);
  return product;
}

void ExpectNear(const std::vector<float>& x, const std::vector<float>& y) {
  ASSERT_EQ(x.size(), y.size());
  for (size_t i = 0; i < x.size(); ++i) EXPECT_NEAR(x[i], y[i], 1e-5) << i;
}

MaskSource NoMasks() {
  return [](size_t, const std::string&, Factor, size_t) -> std::vector<uint8_t> {
    ADD_FAILURE() << "no mask should be needed";
    return {};
  };
}

class CombineTest : public testing::Test {
 protected:
  // Rank 1 on [2 out, 3 in]: B*A*scaling = 2 * {{1,2,3},{-1,-2,-3}} and 0.5 * {{4,0,-4},{8,0,-8}}.
  TestModule first_{{1, 2, 3}, {1, -1}, 1, 2.0};
  TestModule second_{{1, 0, -1}, {4, 8}, 1, 0.5};
  std::vector<ModuleTerm> terms_ = {{&first_.module, 1.0, 0}, {&second_.module, -3.0, 1}};
  const std::vector<float> sum_ = {2 - 6, 4, 6 + 6, -2 - 12, -4, -6 + 12};
};

TEST_F(CombineTest, CatAndSvdOfEnoughRankAreTheWeightedSum) {
  const LowRank cat = CombineModule({.method = Method::kCat}, terms_, NoMasks());
  EXPECT_EQ(cat.rank, 2);
  ExpectNear(Product(cat), sum_);
  ExpectNear(Product(CombineModule({.method = Method::kSvd, .svd_rank = 2}, terms_, NoMasks())),
             sum_);
}

TEST_F(CombineTest, LinearHasTheCrossTermsOfItsDefinition) {
  const LowRank linear = CombineModule({.method = Method::kLinear}, terms_, NoMasks());
  EXPECT_EQ(linear.rank, 1);
  const float r1 = std::sqrt(2.0f), r2 = std::sqrt(1.5f);
  ExpectNear(linear.a, {r1 - r2, 2 * r1, 3 * r1 + r2});  // the negative sign is A's
  ExpectNear(linear.b, {r1 + 4 * r2, -r1 + 8 * r2});
}

TEST_F(CombineTest, OneAdapterByLinearIsItsWeightedProduct) {
  const std::vector<ModuleTerm> one = {{&first_.module, -0.5, 0}};
  ExpectNear(Product(CombineModule({.method = Method::kLinear}, one, NoMasks())),
             {-1, -2, -3, 1, 2, 3});
  ExpectNear(Product(Unchanged(one.front())), {-1, -2, -3, 1, 2, 3});
}

TEST_F(CombineTest, MagnitudePruneKeepsTheLargestOfEachFactor) {
  const LowRank pruned = CombineModule({.method = Method::kMagnitudePrune, .density = 0.5},
                                       std::span(terms_).first(1), NoMasks());
  const float root = std::sqrt(2.0f);
  ExpectNear(pruned.a, {0, 0, 3 * root});  // 1 of 3
  ExpectNear(pruned.b, {root, 0});         // 1 of 2, the first of two equal ones
}

TEST_F(CombineTest, DareAsksForEachMaskAndTiesDoesNot) {
  std::vector<std::pair<size_t, Factor>> asked;
  const MaskSource masks = [&](size_t adapter, const std::string& module, Factor factor,
                               size_t count) {
    EXPECT_EQ(module, first_.module.name);
    EXPECT_EQ(count, factor == Factor::kA ? 3u : 2u);
    asked.emplace_back(adapter, factor);
    return std::vector<uint8_t>(count, 1);
  };
  const LowRank dare =
      CombineModule({.method = Method::kDareLinear, .density = 0.5}, terms_, masks);
  const std::vector<std::pair<size_t, Factor>> expected = {
      {0, Factor::kA}, {1, Factor::kA}, {0, Factor::kB}, {1, Factor::kB}};
  EXPECT_EQ(asked, expected);
  // Nothing dropped, everything doubled.
  const LowRank linear = CombineModule({.method = Method::kLinear}, terms_, NoMasks());
  for (size_t i = 0; i < linear.a.size(); ++i) EXPECT_NEAR(dare.a[i], 2 * linear.a[i], 1e-5);
  CombineModule({.method = Method::kTies, .density = 0.5}, terms_, NoMasks());
}

constexpr size_t kDraws = 200'000;

size_t Ones(const std::vector<uint8_t>& mask) {
  return std::accumulate(mask.begin(), mask.end(), size_t{0});
}

TEST(SeededMasksTest, KeepsTheShareThatItIsAskedFor) {
  for (double density : {0.05, 0.5, 0.9}) {
    const auto mask = SeededMasks(7, density)(0, "model.layers.0.mlp.up_proj", Factor::kA, kDraws);
    const double deviation = std::sqrt(kDraws * density * (1 - density));
    EXPECT_NEAR(static_cast<double>(Ones(mask)), kDraws * density, 5 * deviation) << density;
  }
}

TEST(SeededMasksTest, NeighboursAreIndependent) {
  const auto mask = SeededMasks(7, 0.5)(0, "m", Factor::kA, kDraws);
  size_t num_equal = 0;
  for (size_t i = 1; i < kDraws; ++i) num_equal += mask[i] == mask[i - 1];
  EXPECT_NEAR(static_cast<double>(num_equal), kDraws / 2.0, 5 * std::sqrt(kDraws / 4.0));
}

TEST(SeededMasksTest, RepeatsAndDependsOnAllThatNamesTheMatrix) {
  const auto draw = [](uint64_t seed, size_t adapter, const char* module, Factor factor) {
    return SeededMasks(seed, 0.5)(adapter, module, factor, kDraws);
  };
  const auto mask = draw(7, 0, "m", Factor::kA);
  EXPECT_EQ(draw(7, 0, "m", Factor::kA), mask);
  // Independent masks agree in half of the elements.
  for (const auto& other : {draw(8, 0, "m", Factor::kA), draw(7, 1, "m", Factor::kA),
                            draw(7, 0, "n", Factor::kA), draw(7, 0, "m", Factor::kB)}) {
    size_t num_equal = 0;
    for (size_t i = 0; i < kDraws; ++i) num_equal += mask[i] == other[i];
    EXPECT_NEAR(static_cast<double>(num_equal), kDraws / 2.0, 5 * std::sqrt(kDraws / 4.0));
  }
}

TEST(SeededMasksTest, RescalingPreservesTheExpectation) {
  // The mean over seeds of a kept and rescaled 1 is 1.
  constexpr int kSeeds = 20'000;
  double sum = 0;
  for (int seed = 0; seed < kSeeds; ++seed) {
    sum += SeededMasks(seed, 0.2)(0, "m", Factor::kB, 1)[0] / 0.2;
  }
  EXPECT_NEAR(sum / kSeeds, 1.0, 5 * std::sqrt(0.8 / 0.2 / kSeeds));
}

}  // namespace
}  // namespace lorry::merge
