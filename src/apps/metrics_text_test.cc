#include "apps/metrics_text.h"

#include <gtest/gtest.h>

namespace lorry::apps {
namespace {

TEST(MetricsTextTest, SumsByLabel) {
  const MetricsText metrics = MetricsText::Parse(
      "# HELP a Of a.\n"
      "a{x=\"1\",y=\"u\"} 2\n"
      "a{x=\"2\",y=\"u\"} 3.5 1700000000\n"
      "a 10\n"
      "\n"
      "b 1e3\n");
  EXPECT_EQ(metrics.Sum("a"), 15.5);
  EXPECT_EQ(metrics.Sum("a", "x", "2"), 3.5);
  EXPECT_EQ(metrics.Sum("a", "y", "u"), 5.5);
  EXPECT_EQ(metrics.Sum("a", "z", ""), 0);
  EXPECT_EQ(metrics.Sum("b"), 1000);
  EXPECT_EQ(metrics.Sum("c"), 0);
  EXPECT_EQ(metrics.By("a", "x"), (std::map<std::string, double>{{"1", 2}, {"2", 3.5}}));
}

TEST(MetricsTextTest, EscapesInLabels) {
  const MetricsText metrics = MetricsText::Parse(R"(a{n="q\"},\\"} 7)");
  EXPECT_EQ(metrics.By("a", "n"), (std::map<std::string, double>{{R"(q"},\)", 7}}));
}

TEST(MetricsTextTest, WhatIsNoMetricIsPassedOver) {
  for (const char* broken : {"a", "a{", "a{x", "a{x=\"", "a{x=\"1", "a{x=\"1\\", "a{x=\"1\"",
                             "a{x=\"1\",", "a NaN", "a +Inf", "a one", "a{x=\"1\"}2", "<html>"}) {
    EXPECT_TRUE(MetricsText::Parse(broken).empty()) << broken;
  }
  EXPECT_EQ(MetricsText::Parse("a{x\nb 2").Sum("b"), 2);
}

}  // namespace
}  // namespace lorry::apps
