#include "apps/progress.h"

#include <gtest/gtest.h>

namespace lorry::apps {
namespace {

TEST(ProgressTest, Bar) {
  EXPECT_EQ(ProgressBar(0, 1000), "[..............................] 0 B of 1.00 kB");
  EXPECT_EQ(ProgressBar(500, 1000), "[###############...............] 500 B of 1.00 kB");
  EXPECT_EQ(ProgressBar(1000, 1000), "[##############################] 1.00 kB of 1.00 kB");
  EXPECT_EQ(ProgressBar(0, 0), "[##############################] 0 B of 0 B");
}

}  // namespace
}  // namespace lorry::apps
