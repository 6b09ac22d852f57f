#include "adapters/tier_metrics.h"

#include <gtest/gtest.h>
#include <prometheus/text_serializer.h>

namespace lorry::adapters {
namespace {

class TierMetricsTest : public ::testing::Test {
 protected:
  // The value of a line of /metrics; -1: there is none.
  double Value(const std::string& sample) {
    const std::string text = prometheus::TextSerializer().Serialize(registry_.Collect());
    const size_t at = text.find("\n" + sample + " ");
    return at == std::string::npos ? -1 : std::stod(text.substr(at + sample.size() + 2));
  }

  prometheus::Registry registry_;
  TierMetrics metrics_{registry_};
};

TEST_F(TierMetricsTest, CountsWhatComesAndWhereItWasFound) {
  auto image = std::make_shared<AdapterImage>();
  image->buffer = *Buffer::Allocate(4096);
  image->blob = {image->buffer.data(), 4000};
  metrics_.OnHit(AdapterTier::kDisk);
  metrics_.OnHit(AdapterTier::kNone);
  metrics_.OnHit(AdapterTier::kNone);
  metrics_.OnLoaded({.image = image, .times = {.fetch_us = 30'000, .check_us = 0}});
  metrics_.OnWritten(5000, 1000);
  EXPECT_EQ(Value("lorry:adapter_hits_total{tier=\"disk\"}"), 1);
  EXPECT_EQ(Value("lorry:adapter_hits_total{tier=\"none\"}"), 2);
  EXPECT_EQ(Value("lorry:adapter_moved_bytes_total{tier=\"host\"}"), 4000);
  EXPECT_EQ(Value("lorry:adapter_moved_bytes_total{tier=\"disk\"}"), 5000);
  EXPECT_EQ(Value("lorry:adapter_load_seconds_count{stage=\"fetch\"}"), 1);
  EXPECT_EQ(Value("lorry:adapter_load_seconds_count{stage=\"check\"}"), -1);  // it took no time
}

TEST_F(TierMetricsTest, GaugesFollowAndCountersOnlyRise) {
  metrics_.SetHost(3, 300, 5);
  metrics_.SetHost(2, 200, 7);
  metrics_.SetDisk({.num_files = 4, .num_bytes = 400, .num_evicted = 1});
  metrics_.SetNames(9);
  metrics_.SetWaiting(6, 100);
  metrics_.SetWaiting(0, 0);
  EXPECT_EQ(Value("lorry:adapter_tier_bytes{tier=\"host\"}"), 200);
  EXPECT_EQ(Value("lorry:adapter_tier_count{tier=\"disk\"}"), 4);
  EXPECT_EQ(Value("lorry:adapter_names"), 9);
  EXPECT_EQ(Value("lorry:adapter_waiting_requests"), 0);
  metrics_.OnFailed({ErrorCode::kSourceFailed, "", ""});
  metrics_.OnFailed({ErrorCode::kSourceFailed, "", ""});
  const std::string failed = fmt::format("lorry:adapter_load_failures_total{{code=\"{}\"}}",
                                         ErrorCodeName(ErrorCode::kSourceFailed));
  EXPECT_EQ(Value(failed), 2);
  const std::string text = prometheus::TextSerializer().Serialize(registry_.Collect());
  EXPECT_NE(text.find("adapter_evictions_total{"), std::string::npos);
}

TEST_F(TierMetricsTest, LoadedNamesComeMoveAndGo) {
  const std::string a = R"(vllm:lora_adapter_loaded{adapter_name="a",level="gpu",pinned="true",)"
                        R"(rank="8"})";
  const std::string b = R"(vllm:lora_adapter_loaded{adapter_name="b",level="cpu",pinned="false",)"
                        R"(rank="16"})";
  const std::string b_moved =
      R"(vllm:lora_adapter_loaded{adapter_name="b",level="gpu",pinned="false",rank="16"})";
  const LoadedName in_pool = {"a", true, true, 8};
  metrics_.SetLoaded({in_pool, {"b", false, false, 16}});
  EXPECT_EQ(Value(a), 1);
  EXPECT_EQ(Value(b), 1);
  metrics_.SetLoaded({in_pool, {"b", true, false, 16}});
  EXPECT_EQ(Value(a), 1);
  EXPECT_EQ(Value(b), -1);
  EXPECT_EQ(Value(b_moved), 1);
  metrics_.SetLoaded({});
  EXPECT_EQ(Value(a), -1);
  EXPECT_EQ(Value(b_moved), -1);
}

TEST_F(TierMetricsTest, LoadedNamesAreBoundedAndThePoolsComeFirst) {
  std::vector<std::string> names;
  for (int i = 0; i < 5000; ++i) names.push_back(fmt::format("n{}", i));
  std::vector<LoadedName> loaded;
  for (const std::string& name : names) loaded.push_back({name, name == "n4999", false, 1});
  metrics_.SetLoaded(loaded);
  const std::string text = prometheus::TextSerializer().Serialize(registry_.Collect());
  size_t num_series = 0;
  for (size_t at = 0; (at = text.find("\nvllm:lora_adapter_loaded{", at)) != std::string::npos;
       ++at) {
    ++num_series;
  }
  EXPECT_EQ(num_series, 4096u);
  EXPECT_NE(text.find(R"({adapter_name="n4999",level="gpu")"), std::string::npos);
}

}  // namespace
}  // namespace lorry::adapters
