#include "server/metrics_page.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <prometheus/counter.h>
#include <prometheus/gauge.h>
#include <prometheus/histogram.h>
#include <prometheus/registry.h>
#include <prometheus/text_serializer.h>

namespace lorry::server {
namespace {

using testing::HasSubstr;
using testing::Not;

TEST(MetricsPage, WithoutNamesNothingIsLostButTheNames) {
  prometheus::Registry registry;
  auto& tokens = prometheus::BuildCounter().Name("tokens_total").Register(registry);
  tokens.Add({{"adapter", "acme"}, {"kind", "prompt"}}).Increment(3);
  tokens.Add({{"adapter", "bolt"}, {"kind", "prompt"}}).Increment(4);
  tokens.Add({{"adapter", "bolt"}, {"kind", "answer"}}).Increment(5);
  auto& seconds = prometheus::BuildHistogram().Name("seconds").Register(registry);
  for (const char* name : {"acme", "bolt"}) {
    seconds.Add({{"adapter", name}}, prometheus::Histogram::BucketBoundaries{1, 2}).Observe(1.5);
  }
  auto& loaded = prometheus::BuildGauge().Name("loaded").Register(registry);
  loaded.Add({{"adapter_name", "acme"}, {"level", "gpu"}}).Set(1);
  loaded.Add({{"adapter_name", "bolt"}, {"level", "gpu"}}).Set(1);
  auto& info = prometheus::BuildGauge().Name("info").Register(registry);
  info.Add({{"running_lora_adapters", "acme,bolt"}, {"waiting_lora_adapters", ""}, {"max", "8"}})
      .Set(7);
  prometheus::BuildGauge().Name("plain").Register(registry).Add({{"model_name", "base"}}).Set(2);

  const std::string text =
      prometheus::TextSerializer().Serialize(WithoutAdapterNames(registry.Collect()));
  EXPECT_THAT(text, Not(HasSubstr("acme")));
  EXPECT_THAT(text, Not(HasSubstr("bolt")));
  for (const char* line : {"tokens_total{kind=\"prompt\"} 7\n", "tokens_total{kind=\"answer\"} 5\n",
                           "seconds_count 2\n", "seconds_sum 3\n", "seconds_bucket{le=\"1\"} 0\n",
                           "seconds_bucket{le=\"2\"} 2\n", "loaded{level=\"gpu\"} 2\n",
                           "info{max=\"8\"} 7\n", "plain{model_name=\"base\"} 2\n"}) {
    EXPECT_THAT(text, HasSubstr(line));
  }
}

TEST(MetricsPage, WhoeverAsksTooOftenGetsTheLastOne) {
  class TickingClock : public Clock {
   public:
    Micros NowUs() const override { return now_us += 1000; }  // each look takes a millisecond
    mutable Micros now_us = 0;
  };
  prometheus::Registry registry;
  auto& counter = prometheus::BuildCounter().Name("asked_total").Register(registry).Add({});
  TickingClock clock;
  MetricsPage page([&] { return registry.Collect(); }, clock);
  const auto asked = [&] {
    counter.Increment();
    const std::string text = page.Recent(true);
    return std::stoi(text.substr(text.rfind(' ')));
  };
  int num_old = 0;
  for (int i = 1; i <= 1000; ++i) num_old += asked() < i ? 1 : 0;
  EXPECT_GT(num_old, 600);
  EXPECT_LT(num_old, 950);
  clock.now_us += 10'000'000;
  for (int i = 1001; i <= 1040; ++i) EXPECT_EQ(asked(), i) << "after a quiet time each is new";
}

}  // namespace
}  // namespace lorry::server
