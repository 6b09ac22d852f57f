#include "apps/machine.h"

#include <gtest/gtest.h>

namespace lorry::apps {
namespace {

TEST(MachineTest, KernelTexts) {
  EXPECT_EQ(CoresOfCpuMax("max 100000\n"), 0);
  EXPECT_EQ(CoresOfCpuMax("150000 100000\n"), 2);
  EXPECT_EQ(CoresOfCpuMax("20000 100000\n"), 1);
  EXPECT_EQ(CoresOfCpuMax(""), 0);
  EXPECT_EQ(AvailableOfMeminfo("MemTotal: 9 kB\nMemAvailable:     1000 kB\n"), 1024000u);
  EXPECT_EQ(AvailableOfMeminfo(""), 0u);
  EXPECT_EQ(LimitOfMemoryMax("max\n"), 0u);
  EXPECT_EQ(LimitOfMemoryMax("1048576\n"), 1048576u);
}

TEST(MachineTest, ThisMachine) {
  EXPECT_GE(UsableCores(), 1);
  EXPECT_GT(AvailableMemoryBytes(), size_t{1} << 20);
}

}  // namespace
}  // namespace lorry::apps
