#include "apps/top_view.h"

#include <fmt/ranges.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "apps/text_table.h"

namespace lorry::apps {
namespace {

using ::testing::AllOf;
using ::testing::Contains;
using ::testing::ContainsRegex;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::SizeIs;

constexpr char kBefore[] = R"(
vllm:num_requests_running{engine="0",model_name="base"} 0
vllm:prompt_tokens_total 100
vllm:generation_tokens_total 1000
lorry:adapter_requests_total{adapter="cold"} 90
lorry:adapter_requests_total{adapter="hot"} 10
lorry:adapter_generation_tokens_total{adapter="cold"} 900
lorry:adapter_generation_tokens_total{adapter="hot"} 100
lorry:adapter_loads_total{tier="pool"} 1
)";
constexpr char kNow[] = R"(
vllm:num_requests_running{engine="0",model_name="base"} 8
vllm:num_requests_waiting{engine="0",model_name="base"} 2
vllm:kv_cache_usage_perc 0.25
vllm:prompt_tokens_total 140
vllm:generation_tokens_total 1300
lorry:adapter_waiting_requests 1
lorry:adapter_names 2000
lorry:adapter_requests_total{adapter="cold"} 90
lorry:adapter_requests_total{adapter="hot"} 14
lorry:adapter_generation_tokens_total{adapter="cold"} 900
lorry:adapter_generation_tokens_total{adapter="hot"} 400
lorry:adapter_tier_count{tier="pool"} 50
lorry:adapter_tier_bytes{tier="pool"} 500000000
lorry:adapter_hits_total{tier="pool"} 95
lorry:adapter_loads_total{tier="pool"} 5
lorry:adapter_hits_total{tier="host"} 60
lorry:adapter_hits_total{tier="disk"} 30
lorry:adapter_hits_total{tier="none"} 10
lorry:adapter_evictions_total{reason="kv",tier="pool"} 3
lorry:adapter_evictions_total{reason="adapter",tier="pool"} 4
)";

TopLook Look(double at_s, const char* page) { return {at_s, MetricsText::Parse(page), {}}; }

TEST(TopViewTest, RatesAreOfTheTimeBetween) {
  const auto lines = RenderTop("http://h", Look(10, kBefore), Look(12, kNow), {});
  EXPECT_THAT(lines, Contains("http://h  base"));
  EXPECT_THAT(lines, Contains("streams   8 running, 2 waiting, 1 of them for an adapter"));
  EXPECT_THAT(lines, Contains("tokens/s  20.0 in, 150 out; 2.0 requests/s"));
  EXPECT_THAT(lines, Contains(HasSubstr("25 % in use")));
  EXPECT_THAT(lines, Contains(HasSubstr("2000 adapters can be asked for")));
}

TEST(TopViewTest, TiersAndWhoFoundTheirAdapterThere) {
  const auto lines = RenderTop("http://h", Look(10, kBefore), Look(12, kNow), {});
  EXPECT_THAT(lines, Contains(ContainsRegex("pool +50 +500 MB +95 % +2.0 .* 7$")));
  EXPECT_THAT(lines, Contains(ContainsRegex("host +0 +0 B +60 % ")));
  EXPECT_THAT(lines, Contains(ContainsRegex("disk +0 +0 B +75 % ")));
}

TEST(TopViewTest, TheBusiestComeFirst) {
  TopLook now = Look(12, kNow);
  now.adapters["hot"] = {"pool", 16, 9'800'000, 3, "pinned"};
  const auto lines = RenderTop("http://h", Look(10, kBefore), now, {});
  const auto hot = std::find_if(lines.begin(), lines.end(),
                                [](const auto& line) { return line.starts_with("hot "); });
  ASSERT_NE(hot, lines.end());
  EXPECT_THAT(*hot, ContainsRegex("150 +2.0 +14 +pool +16 +9.80 MB +3 +pinned"));
  EXPECT_THAT(*(hot + 1), ContainsRegex("^cold +0.0 +0.0 +90 +- +- +- +- +-"));
}

TEST(TopViewTest, AServerThatWasStartedAnewHasNoNegativeRates) {
  const auto lines = RenderTop("http://h", Look(10, kNow), Look(12, kBefore), {});
  EXPECT_THAT(fmt::format("{}", fmt::join(lines, "\n")), Not(HasSubstr("-1")));
}

TEST(TopViewTest, FitsEverySize) {
  for (int rows = 1; rows < 30; ++rows) {
    for (const int columns : {1, 20, 200}) {
      const auto lines = RenderTop("http://h", Look(10, kBefore), Look(12, kNow), {columns, rows});
      EXPECT_LE(lines.size(), static_cast<size_t>(rows));
      for (const std::string& line : lines) EXPECT_EQ(line, KeptBegin(line, columns));
    }
  }
}

}  // namespace
}  // namespace lorry::apps
