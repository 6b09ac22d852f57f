#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>

#include "bench/limits.h"
#include "bench/make_model.h"
#include "bench/process_memory.h"
#include "bench/statistics.h"
#include "bench/step_bench.h"

namespace lorry::bench {
namespace {

namespace fs = std::filesystem;

TEST(StatisticsTest, MediansAndPercentiles) {
  EXPECT_EQ(Median({}), 0);
  EXPECT_EQ(Median({3, 1, 2}), 2);
  EXPECT_EQ(Median({4, 1, 2, 3}), 2.5);
  EXPECT_EQ(Percentile({1, 2, 3, 4}, 50), 2);
  EXPECT_EQ(Percentile({1, 2, 3, 4}, 99), 4);
}

TEST(LimitsTest, MeasuresSomethingPositive) {
  const Stream stream(2);
  const auto probe = LimitProbe::Create(size_t{16} << 20);
  ASSERT_TRUE(probe);
  const Limits limits = probe->Measure(stream, 1);
  EXPECT_GT(limits.read_bytes_per_s, 1e6);
  EXPECT_GT(limits.f32_flops, 1e6);
  EXPECT_GT(limits.ArithmeticRate(true), 1e6);
}

// A made model loads, its adapters apply in full, and the step benchmark runs over all of them.
TEST(MakeModelTest, WhatItWritesIsServed) {
  const fs::path root =
      fs::temp_directory_path() / ("lorry_bench_test_" + std::to_string(getpid()));
  const MakeModelOptions make{
      .shape = "tiny", .num_adapters = 2, .rank = 4, .output_dir = root.string()};
  ASSERT_TRUE(MakeModel(make));
  ASSERT_TRUE(MakeModel(make)) << "what is there is kept";
  const auto report = RunStepBench(
      {.model_dir = (root / "base").string(),
       .adapter_dirs = {(root / "adapters/a0000").string(), (root / "adapters/a0001").string()},
       .batches = {1, 4},
       .context_tokens = 20,
       .prompt_tokens = 32,
       .rounds = 1,
       .num_threads = 2,
       .probe_bytes = size_t{16} << 20});
  fs::remove_all(root);
  ASSERT_TRUE(report) << report.error().message;
  EXPECT_EQ(report->at("steps").as_array().size(), 7u);
}

TEST(MakeModelTest, RefusesWhatItDoesNotKnow) {
  EXPECT_EQ(MakeModel({.shape = "9b", .output_dir = "/nowhere"}).error().param, "shape");
  EXPECT_EQ(MakeModel({.shape = "tiny"}).error().param, "output");
}

TEST(ProcessMemoryTest, ThisProcessOccupiesSomething) { EXPECT_GT(ResidentBytes(), 1u << 20); }

}  // namespace
}  // namespace lorry::bench
