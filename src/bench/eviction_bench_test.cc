#include "bench/eviction_bench.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <boost/json.hpp>
#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "bench/eviction_replay.h"

namespace lorry::bench {
namespace {

namespace fs = std::filesystem;

size_t Percent(const Workload& workload, double percent) {
  return static_cast<size_t>(static_cast<double>(workload.total_bytes) * percent / 100);
}

double HitShare(const ReplayResult& result, size_t begin, size_t end) {
  const auto hits = std::count(result.hit.begin() + begin, result.hit.begin() + end, true);
  return static_cast<double>(hits) / static_cast<double>(end - begin);
}

// The figure that the policy was built for: at most 0.9 x the bytes that LRU fetches, on Zipf 0.9
// and 1.1 over 2,000 adapters of ranks 8 to 128. On other traffic never much more than LRU.
TEST(EvictionComparisonTest, FetchesLessThanLru) {
  for (const double zipf : {0.9, 1.1}) {
    for (const Traffic traffic :
         {Traffic::kSteady, Traffic::kShift, Traffic::kScan, Traffic::kBursts}) {
      const Workload workload =
          MakeWorkload({.traffic = traffic, .zipf = zipf, .num_requests = 30'000, .seed = 11});
      for (const double percent : {2.5, 10.0, 25.0}) {
        const size_t capacity_bytes = Percent(workload, percent);
        const ReplayResult lru = Replay(workload, Algorithm::kLru, capacity_bytes);
        const ReplayResult scored = Replay(workload, Algorithm::kScored, capacity_bytes);
        const double ratio =
            static_cast<double>(scored.fetched_bytes) / static_cast<double>(lru.fetched_bytes);
        const bool popularity_lasts = traffic == Traffic::kSteady || traffic == Traffic::kScan;
        EXPECT_LE(ratio, popularity_lasts ? 0.9 : 1.03)
            << "zipf " << zipf << ", traffic " << static_cast<int>(traffic) << ", " << percent
            << " %";
        EXPECT_GE(scored.fetched_bytes, FetchBound(workload, capacity_bytes));
      }
    }
  }
}

// The popular adapters change wholly every 10,000 requests: over the first thousand after a change
// the hit rate falls a little behind LRU's, over the second it is beside it, then above.
TEST(EvictionComparisonTest, FollowsAChangeOfPopularity) {
  for (const double zipf : {0.9, 1.1}) {
    const Workload workload = MakeWorkload(
        {.traffic = Traffic::kShift, .zipf = zipf, .num_requests = 60'000, .seed = 12});
    const size_t capacity_bytes = Percent(workload, 10);
    const ReplayResult lru = Replay(workload, Algorithm::kLru, capacity_bytes);
    const ReplayResult scored = Replay(workload, Algorithm::kScored, capacity_bytes);
    for (size_t change = 10'000; change < 60'000; change += kRequestsBetweenShifts) {
      const auto above_lru = [&](size_t begin, size_t end) {
        return HitShare(scored, change + begin, change + end) -
               HitShare(lru, change + begin, change + end);
      };
      EXPECT_GE(above_lru(0, 1000), -0.1) << "zipf " << zipf << ", change at " << change;
      EXPECT_GE(above_lru(1000, 2000), -0.02) << "zipf " << zipf << ", change at " << change;
      EXPECT_GE(above_lru(2000, 10'000), 0.02) << "zipf " << zipf << ", change at " << change;
    }
  }
}

TEST(EvictionReplayTest, TheSameRequestsFetchTheSame) {
  const Workload workload = MakeWorkload({.num_adapters = 300, .num_requests = 5000});
  const size_t capacity_bytes = Percent(workload, 10);
  const ReplayResult once = Replay(workload, Algorithm::kScored, capacity_bytes);
  const ReplayResult again = Replay(workload, Algorithm::kScored, capacity_bytes);
  EXPECT_EQ(once.hit, again.hit);
  EXPECT_EQ(once.fetched_bytes, again.fetched_bytes);
}

// a b c a b c with room for two of one size. LRU fetches each time; whoever knows the future keeps
// a and half-way b.
TEST(EvictionReplayTest, BoundAndLruByHand) {
  Workload workload{.costs = {{10, 1}, {10, 1}, {10, 1}}, .requests = {}};
  for (int i = 0; i < 6; ++i) workload.requests.push_back({i % 3, i, i});
  EXPECT_EQ(Replay(workload, Algorithm::kLru, 20).fetched_bytes, 60u);
  EXPECT_EQ(FetchBound(workload, 20), 40u);
  EXPECT_EQ(FetchBound(workload, 25), 35u);
  EXPECT_EQ(FetchBound(workload, 30), 30u);
  EXPECT_EQ(Replay(workload, Algorithm::kScored, 30).num_hits, 3u);
}

// Two adapters in use fill the tier: the third waits for the first.
TEST(EvictionReplayTest, WhatIsInUseIsWaitedFor) {
  const Workload workload{.costs = {{10, 1}, {10, 1}, {10, 1}},
                          .requests = {{0, 0, 100}, {1, 1, 50}, {2, 2, 60}, {0, 3, 70}}};
  for (const Algorithm algorithm :
       {Algorithm::kScored, Algorithm::kLru, Algorithm::kLfu, Algorithm::kGdsf}) {
    const ReplayResult result = Replay(workload, algorithm, 20);
    EXPECT_EQ(result.num_waits, 1u);
    EXPECT_EQ(result.num_hits, 1u) << "0 was in use, 1 had to go";
  }
}

TEST(EvictionReplayTest, ReadsATrace) {
  const fs::path file = fs::temp_directory_path() / ("lorry_trace_" + std::to_string(getpid()));
  std::ofstream(file) << "TIMESTAMP,ContextTokens,GeneratedTokens\n"
                         "2023-11-16 18:15:50.5000000,396,2\r\n"
                         "2023-11-16 18:15:46.2500000,374,4\n\n";
  const auto workload = LoadWorkload(file, {.num_adapters = 5});
  ASSERT_TRUE(workload) << workload.error().message;
  ASSERT_EQ(workload->requests.size(), 2u);
  EXPECT_EQ(workload->requests[1].arrival_us - workload->requests[0].arrival_us, 4'250'000);
  EXPECT_EQ(workload->requests[0].end_us - workload->requests[0].arrival_us, 100'000);

  std::ofstream(file) << "TIMESTAMP\nyesterday,1,2\n";
  const auto bad = LoadWorkload(file, {});
  ASSERT_FALSE(bad);
  EXPECT_NE(bad.error().message.find(":2: "), std::string::npos) << bad.error().message;
  fs::remove(file);
  EXPECT_EQ(LoadWorkload(file, {}).error().code, ErrorCode::kNotFound);
}

TEST(EvictionReplayTest, ArrivalsOfRealUsers) {
  const char* root = std::getenv("LORRY_TEST_DATA");
  if (root == nullptr) GTEST_SKIP() << "LORRY_TEST_DATA is not set";
  const fs::path file = fs::path(root) / "traces/azure2023/AzureLLMInferenceTrace_conv.csv";
  const auto workload = LoadWorkload(file, {.zipf = 0.9});
  ASSERT_TRUE(workload) << workload.error().message;
  EXPECT_EQ(workload->requests.size(), 19'366u);
  const size_t capacity_bytes = Percent(*workload, 10);
  const ReplayResult lru = Replay(*workload, Algorithm::kLru, capacity_bytes);
  const ReplayResult scored = Replay(*workload, Algorithm::kScored, capacity_bytes);
  EXPECT_LE(static_cast<double>(scored.fetched_bytes),
            0.9 * static_cast<double>(lru.fetched_bytes));
}

TEST(EvictionBenchTest, ReportsEveryRowAndRefusesATierThatHoldsNothing) {
  const EvictionBenchOptions options{.num_adapters = 100,
                                     .num_requests = 500,
                                     .zipf = {1.0},
                                     .capacity_percent = {10, 100},
                                     .trace = {}};
  const auto report = RunEvictionBench(options);
  ASSERT_TRUE(report) << report.error().message;
  EXPECT_EQ(report->at("rows").as_array().size(), 8u);
  for (const auto& row : report->at("rows").as_array()) {
    EXPECT_LE(row.at("bound_bytes").to_number<size_t>(),
              row.at("scored_bytes").to_number<size_t>());
  }
  EXPECT_EQ(
      RunEvictionBench({.num_adapters = 2, .capacity_percent = {0.1}, .trace = {}}).error().param,
      "capacity");
  EXPECT_EQ(RunEvictionBench({.num_adapters = 0, .trace = {}}).error().param, "adapters");
  EXPECT_FALSE(RunEvictionBench({.trace = "/nowhere.csv"}));
}

}  // namespace
}  // namespace lorry::bench
