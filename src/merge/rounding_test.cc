#include "merge/rounding.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdint>
#include <cstring>
#include <limits>
#include <vector>

namespace lorry::merge {
namespace {

std::vector<uint16_t> Words(DType dtype, const std::vector<float>& values, bool finite) {
  std::vector<uint16_t> words(values.size());
  EXPECT_EQ(RoundTo(dtype, values, std::as_writable_bytes(std::span(words))), finite);
  return words;
}

TEST(RoundingTest, HalfToNearestEven) {
  EXPECT_THAT(Words(DType::kF16, {1.0f, -2.0f, 65504.0f, 0x1p-24f, 0x1p-26f}, true),
              testing::ElementsAre(0x3c00, 0xc000, 0x7bff, 0x0001, 0x0000));
  // 1 + 2^-11 lies half way between two halves; so does 1 + 3 * 2^-11.
  EXPECT_THAT(Words(DType::kF16, {1 + 0x1p-11f, 1 + 3 * 0x1p-11f}, true),
              testing::ElementsAre(0x3c00, 0x3c02));
}

TEST(RoundingTest, EveryHalfComesBackAsItWas) {
  std::vector<float> values;
  std::vector<uint16_t> halves;
  for (uint32_t half = 0; half < 0x10000; ++half) {
    if ((half & 0x7c00) == 0x7c00) continue;  // not finite
    halves.push_back(static_cast<uint16_t>(half));
    values.push_back(HalfToFloat(halves.back()));
  }
  EXPECT_EQ(Words(DType::kF16, values, true), halves);
}

TEST(RoundingTest, WhatDoesNotFitIsSaid) {
  Words(DType::kF16, {1.0f, 65520.0f}, false);
  Words(DType::kBF16, {3.4e38f}, false);
  Words(DType::kBF16, {std::numeric_limits<float>::quiet_NaN()}, false);
  float word;
  EXPECT_TRUE(
      RoundTo(DType::kF32, std::vector{3.4e38f}, std::as_writable_bytes(std::span(&word, 1))));
  EXPECT_EQ(word, 3.4e38f);
}

}  // namespace
}  // namespace lorry::merge
