#include "merge/task_arithmetic.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace lorry::merge {
namespace {

using testing::ElementsAre;

TEST(KeepLargestTest, KeepsTheFloorOfTheShareByMagnitude) {
  std::vector<float> values = {1, -5, 0.5, 3, -2};
  KeepLargest(values, 0.5);  // 2.5 of 5
  EXPECT_THAT(values, ElementsAre(0, -5, 0, 3, 0));
  KeepLargest(values, 1.0);
  EXPECT_THAT(values, ElementsAre(0, -5, 0, 3, 0));
  KeepLargest(values, 0.1);
  EXPECT_THAT(values, ElementsAre(0, 0, 0, 0, 0));
}

TEST(KeepLargestTest, OfEqualValuesTheFirstStay) {
  std::vector<float> values = {2, -2, 2, -2};
  KeepLargest(values, 0.75);
  EXPECT_THAT(values, ElementsAre(2, -2, 2, 0));
}

TEST(DropAndRescaleTest, FollowsTheMask) {
  std::vector<float> values = {1, -2, 3, 4};
  DropAndRescale(values, std::vector<uint8_t>{1, 0, 0, 1}, 0.5);
  EXPECT_THAT(values, ElementsAre(2, 0, 0, 8));
}

TEST(WeightedSumTest, AddsWithSigns) {
  const std::vector<TaskTensor> tensors = {{{1, 2}, 0.5f}, {{4, -4}, -1.0f}};
  EXPECT_THAT(WeightedSum(tensors), ElementsAre(-3.5f, 5.0f));
}

TEST(MergeAgreeingTest, TotalAndFrequencyElectDifferentSigns) {
  // Two small positive values against a large negative one.
  const std::vector<TaskTensor> tensors = {{{1}, 1.0f}, {{2}, 1.0f}, {{-9}, 2.0f}};
  EXPECT_THAT(MergeAgreeing(tensors, MajoritySign::kTotal), ElementsAre(-18.0f));
  EXPECT_THAT(MergeAgreeing(tensors, MajoritySign::kFrequency), ElementsAre(1.5f));
}

TEST(MergeAgreeingTest, VotesAreUnweightedAndZerosDoNotCount) {
  // A negative weight does not change which values agree.
  const std::vector<TaskTensor> tensors = {{{3, 0, -1, 0}, -1.0f}, {{1, 4, 1, 0}, 1.0f}};
  EXPECT_THAT(MergeAgreeing(tensors, MajoritySign::kTotal), ElementsAre(-1.0f, 4.0f, 1.0f, 0.0f));
}

}  // namespace
}  // namespace lorry::merge
