#include "engine/adapter_sum.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "engine/fake_step_model.h"

namespace lorry::engine {
namespace {

using Parts = std::vector<std::pair<int, float>>;  // FakeAdapter's number, weight

std::vector<AdapterTerm> Terms(const Parts& parts) {
  std::vector<AdapterTerm> terms;
  for (const auto& [number, weight] : parts) {
    terms.push_back({fmt::format("a{}", number), weight, FakeAdapter(number)});
  }
  return terms;
}

Parts PartsOf(const std::vector<SummedAdapter>& sum) {
  Parts parts;
  for (const SummedAdapter& part : sum)
    parts.emplace_back(part.image->id.bytes[0] - 1, part.weight);
  return parts;
}

TEST(AdapterSumTest, StandsInOneOrder) {
  const Parts sorted = {{0, 0.5f}, {2, 1}, {5, -3}};
  EXPECT_EQ(PartsOf(SumOf(Terms({{5, -3}, {0, 0.5f}, {2, 1}}))), sorted);
  EXPECT_EQ(PartsOf(SumOf(Terms({{2, 1}, {5, -3}, {0, 0.5f}}))), sorted);
  EXPECT_TRUE(SumOf({}).empty());
}

TEST(AdapterSumTest, EqualContentsAddTheirWeights) {
  EXPECT_EQ(PartsOf(SumOf(Terms({{1, 0.5f}, {0, 1}, {1, 0.25f}}))), (Parts{{0, 1}, {1, 0.75f}}));
  // Whatever the order that they were written in, to the last bit.
  EXPECT_EQ(PartsOf(SumOf(Terms({{1, 0.1f}, {1, 1000}, {1, -0.3f}}))),
            PartsOf(SumOf(Terms({{1, 1000}, {1, -0.3f}, {1, 0.1f}}))));
  EXPECT_TRUE(SumOf(Terms({{1, 0.5f}, {1, -0.5f}, {3, 0}})).empty()) << "that is the base";
}

TEST(AdapterSumTest, WhatOnlyStandsAloneIsRefusedByName) {
  const auto own_norms = [](int number) {
    auto image = std::const_pointer_cast<adapters::AdapterImage>(FakeAdapter(number));
    static const float kNorm[1] = {1};
    image->weights->SetNorm(formats::ModuleKind::kFinalNorm, 0, kNorm);
    return image;
  };
  const AdapterTerm plain = {"plain", 1, FakeAdapter(0)}, norms = {"norms", 1, own_norms(1)};
  const AdapterTerm half = {"norms", 0.5f, norms.handle}, nothing = {"norms", 0, norms.handle};
  EXPECT_TRUE(CheckSum(std::vector{norms}));
  EXPECT_TRUE(CheckSum(std::vector{half, half}));
  EXPECT_TRUE(CheckSum(std::vector{plain, nothing}));
  for (const auto& terms : {std::vector{half}, std::vector{plain, norms}, {norms, norms}}) {
    const Status status = CheckSum(terms);
    ASSERT_FALSE(status);
    EXPECT_EQ(status.error().code, ErrorCode::kInvalidArgument);
    EXPECT_EQ(status.error().param, "model");
    EXPECT_THAT(status.error().message, ::testing::HasSubstr("`norms`"));
  }
}

TEST(AdapterSumsTest, EqualSumsShareANumberWhileTheyLive) {
  AdapterSums sums;
  const auto take = [&](const Parts& parts) { return sums.Take(SumOf(Terms(parts))); };
  EXPECT_EQ(take({}), 0);
  const int one = take({{3, 1}});
  const int both = take({{3, 1}, {4, 0.5f}});
  EXPECT_NE(one, 0);
  EXPECT_NE(one, both);
  EXPECT_EQ(take({{4, 0.5f}, {3, 1}}), both);
  EXPECT_NE(take({{4, 0.25f}, {3, 1}}), both);
  sums.GiveBack(both);
  EXPECT_EQ(take({{3, 1}, {4, 0.5f}}), both) << "the other request still has it";
  sums.GiveBack(both);
  sums.GiveBack(both);
  EXPECT_EQ(sums.num_taken(), 2);
  EXPECT_EQ(take({{7, 1}}), both) << "numbers stay small";
  sums.GiveBack(0);
}

}  // namespace
}  // namespace lorry::engine
