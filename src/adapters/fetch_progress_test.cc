#include "adapters/fetch_progress.h"

#include <gtest/gtest.h>

#include <vector>

namespace lorry::adapters {
namespace {

TEST(FetchProgress, SpeaksLessAndLess) {
  constexpr Micros kBeginUs = 1'000'000, kSecondUs = 1'000'000;
  FetchProgress progress(kBeginUs);
  std::vector<int> seconds;
  for (int second = 0; second <= 240; ++second) {
    if (progress.IsDue(kBeginUs + second * kSecondUs)) seconds.push_back(second);
  }
  EXPECT_EQ(seconds, (std::vector<int>{5, 10, 20, 40, 80, 140, 200}));
}

}  // namespace
}  // namespace lorry::adapters
