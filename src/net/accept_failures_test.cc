#include "net/accept_failures.h"

#include <gtest/gtest.h>

namespace lorry::net {
namespace {

TEST(AcceptFailuresTest, OneLineWhenItBeginsAndOneWhenItIsOver) {
  AcceptFailures failures;
  AcceptFailures::Time now{};
  const auto later = [&](std::chrono::milliseconds time) { return now += time; };
  using std::chrono::milliseconds;

  EXPECT_FALSE(failures.Accepted(now));
  EXPECT_TRUE(failures.Failed(now, "no descriptors")
                  .value()
                  .starts_with("cannot accept a connection: no descriptors"));
  for (int i = 0; i < 1000; ++i) {  // 200 s in which one succeeds between two that fail
    EXPECT_FALSE(failures.Accepted(later(milliseconds(100))));
    EXPECT_FALSE(failures.Failed(later(milliseconds(100)), "no descriptors"));
  }
  EXPECT_FALSE(failures.Accepted(later(milliseconds(9999))));
  EXPECT_EQ(failures.Accepted(later(milliseconds(1))),
            "connections are accepted again; 1001 attempts had failed");
  EXPECT_FALSE(failures.Accepted(later(milliseconds(1))));
  EXPECT_TRUE(failures.Failed(now, "no memory"));
}

}  // namespace
}  // namespace lorry::net
