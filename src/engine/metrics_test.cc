#include "engine/metrics.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <prometheus/registry.h>
#include <prometheus/text_serializer.h>

#include <sstream>

#include "engine/collector.h"
#include "engine/engine_core.h"
#include "engine/fake_step_model.h"

namespace lorry::engine {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

// A model whose steps take 10 ms of a clock that only they move.
class MetricsTest : public ::testing::Test {
 protected:
  MetricsTest() {
    EngineOptions options;
    options.model_name = "base";
    options.max_model_len = 64;
    options.max_num_seqs = 2;
    options.max_num_batched_tokens = 16;
    options.clock = &clock_;
    auto model = std::make_unique<FakeStepModel>(FakeModelOptions());
    model->before_forward = [this] { clock_.Advance(10'000); };
    core_ = std::make_unique<EngineCore>(
        options, std::move(model), *PagePool::Create(256, 12),
        [this](AdapterCopied c) { copied_.SendAlways(std::move(c)); }, registry_);
  }

  void Submit(const std::string& adapter, int num_prompt, int max_tokens) {
    GenerateRequest request;
    request.id = RequestId{++last_id_};
    if (!adapter.empty()) {
      request.adapters = {{.name = adapter, .handle = FakeAdapter(adapter.back() - '0')}};
    }
    request.prompt.assign(num_prompt, 3);
    request.sampling.max_tokens = max_tokens;
    request.sampling.ignore_eos = true;
    request.arrival_us = clock_.NowUs();
    core_->num_queued() += 1;
    core_->Submit({request, std::make_shared<Collector>()});
  }

  // A step, or the wait for an adapter. False: everything has been answered.
  bool Step() {
    std::vector<AdapterCopied> arrived;
    copied_.Drain(arrived);
    for (AdapterCopied& message : arrived) core_->OnCopied(std::move(message));
    if (core_->Step()) return true;
    if (!core_->idle()) copied_.WaitFor(std::chrono::seconds(10));
    return !core_->idle();
  }

  // What a scrape has of one metric: its lines that start with `series`.
  std::vector<std::string> Lines(const std::string& series) const {
    std::vector<std::string> lines;
    std::istringstream text(prometheus::TextSerializer().Serialize(registry_.Collect()));
    for (std::string line; std::getline(text, line);) {
      if (line.starts_with(series)) lines.push_back(line);
    }
    return lines;
  }

  double Value(const std::string& series) const {
    const std::vector<std::string> lines = Lines(series);
    EXPECT_EQ(lines.size(), 1u) << series;
    return lines.size() == 1 ? std::stod(lines[0].substr(lines[0].rfind(' '))) : -1;
  }

  FakeClock clock_;
  prometheus::Registry registry_;
  Mailbox<AdapterCopied> copied_{SIZE_MAX};
  std::unique_ptr<EngineCore> core_;
  uint64_t last_id_ = 0;
};

TEST_F(MetricsTest, CountsRequestsAndTokens) {
  Submit("", 20, 4);
  Submit("a1", 5, 3);
  Submit("a1", 5, 3);
  while (Step()) continue;
  core_->OnIdle();
  EXPECT_EQ(Value("vllm:prompt_tokens_total{"), 30);
  EXPECT_EQ(Value("vllm:generation_tokens_total{"), 10);
  EXPECT_EQ(Value("vllm:num_preemptions_total{"), 0);
  EXPECT_EQ(Value("vllm:num_requests_running{"), 0);
  EXPECT_EQ(Value("vllm:num_requests_waiting{"), 0);
  EXPECT_EQ(Value("vllm:kv_cache_usage_perc{"), 0);
  const std::string labels = R"(",engine="0",model_name="base"})";
  EXPECT_EQ(Value(R"(lorry:adapter_requests_total{adapter="a1)" + labels), 2);
  EXPECT_EQ(Value(R"(lorry:adapter_requests_total{adapter="base)" + labels), 1);
  EXPECT_EQ(Value(R"(lorry:adapter_prompt_tokens_total{adapter="a1)" + labels), 10);
  EXPECT_EQ(Value(R"(lorry:adapter_generation_tokens_total{adapter="a1)" + labels), 6);
  EXPECT_EQ(Value(R"(vllm:request_success_total{engine="0",finished_reason="length")"), 3);
  EXPECT_EQ(Value(R"(vllm:request_success_total{engine="0",finished_reason="abort")"), 0);
  EXPECT_EQ(Value("vllm:iteration_tokens_total_sum{"),
            30 + 10 - 3);  // last tokens are not computed
}

TEST_F(MetricsTest, MeasuresLatencies) {
  Submit("", 20, 4);  // two steps for the prompt, three for the other tokens
  while (Step()) continue;
  EXPECT_DOUBLE_EQ(Value("vllm:time_to_first_token_seconds_sum{"), 0.02);
  EXPECT_DOUBLE_EQ(Value("vllm:inter_token_latency_seconds_sum{"), 0.03);
  EXPECT_EQ(Value("vllm:inter_token_latency_seconds_count{"), 3);
  EXPECT_DOUBLE_EQ(Value("vllm:e2e_request_latency_seconds_sum{"), 0.05);
  EXPECT_DOUBLE_EQ(Value("vllm:request_queue_time_seconds_sum{"), 0);
  EXPECT_DOUBLE_EQ(Value("vllm:request_prefill_time_seconds_sum{"), 0.02);
  EXPECT_DOUBLE_EQ(Value("vllm:request_decode_time_seconds_sum{"), 0.03);
  EXPECT_DOUBLE_EQ(Value("vllm:request_inference_time_seconds_sum{"), 0.05);
  EXPECT_EQ(Value("vllm:request_prompt_tokens_sum{"), 20);
  EXPECT_EQ(Value("vllm:request_generation_tokens_sum{"), 4);
  EXPECT_EQ(Value("vllm:request_params_n_sum{"), 1);
  EXPECT_EQ(Value("vllm:request_params_max_tokens_sum{"), 4);
}

TEST_F(MetricsTest, QueueTimeOfOneThatWaited) {
  Submit("", 4, 3);
  Submit("", 4, 3);
  Submit("", 4, 1);  // only two run at once
  while (Step()) continue;
  EXPECT_DOUBLE_EQ(Value("vllm:request_queue_time_seconds_sum{"), 0.03);
}

TEST_F(MetricsTest, TellsRunningAndWaitingAdaptersApart) {
  Submit("", 4, 50);
  Submit("a1", 4, 50);
  Submit("a2", 4, 50);
  Submit("a1", 4, 50);
  Step();  // the base; a1 is on its way
  copied_.WaitFor(std::chrono::seconds(10));
  Step();
  core_->OnIdle();
  EXPECT_THAT(Lines("vllm:lora_requests_info"),
              ElementsAre(HasSubstr(R"({max_lora="2",running_lora_adapters="a1",)"
                                    R"(waiting_lora_adapters="a1,a2"})")));
  EXPECT_EQ(Value("vllm:num_requests_running{"), 2);
  EXPECT_EQ(Value("vllm:num_requests_waiting{"), 2);
  EXPECT_EQ(Value("vllm:kv_cache_usage_perc{"), 2.0 / 10);  // of 12 pages a1 has two
  core_->ShowWaiting({.num_requests = 3, .adapters = {"cold", "a2"}});
  core_->OnIdle();
  EXPECT_THAT(Lines("vllm:lora_requests_info"),
              ElementsAre(HasSubstr(R"(running_lora_adapters="a1",)"
                                    R"(waiting_lora_adapters="a1,a2,cold"})")));
  EXPECT_EQ(Value("vllm:num_requests_waiting{"), 5);
  core_->ShowWaiting({});
  core_->CancelAll();
  core_->OnIdle();
  EXPECT_THAT(Lines("vllm:lora_requests_info"),
              ElementsAre(HasSubstr(R"(running_lora_adapters="",waiting_lora_adapters=""})")));
  EXPECT_EQ(Value(R"(vllm:request_success_total{engine="0",finished_reason="abort")"), 4);
}

TEST_F(MetricsTest, NamesThatAreGoneLeaveAndTheirCountsStay) {
  constexpr int kNames = 300;
  for (int i = 0; i < kNames; ++i) {
    const std::string name = "team/" + std::to_string(i) + "-1";
    core_->ShowNames(std::vector<NameChange>{{name, true}});
    Submit(name, 5, 3);
    if (i % 2 == 0) core_->ShowNames(std::vector<NameChange>{{name, false}});  // while it runs
    while (Step()) continue;
    if (i % 2 == 1) core_->ShowNames(std::vector<NameChange>{{name, false}});
  }
  Submit("late-1", 5, 3);  // its name went while it was on its way
  core_->ShowNames(std::vector<NameChange>{{"kept-1", true}});
  Submit("kept-1", 5, 3);
  while (Step()) continue;
  core_->OnIdle();
  for (const auto& [family, each] : {std::pair{"lorry:adapter_requests_total{", 1},
                                     {"lorry:adapter_prompt_tokens_total{", 5},
                                     {"lorry:adapter_generation_tokens_total{", 3}}) {
    EXPECT_THAT(Lines(family), ::testing::SizeIs(2)) << family;
    EXPECT_EQ(Value(std::string(family) + "adapter=\"(others)\""), (kNames + 1) * each);
    EXPECT_EQ(Value(std::string(family) + R"(adapter="kept-1")"), each);
  }
  // It comes back as a new one.
  core_->ShowNames(std::vector<NameChange>{{"team/7-1", true}});
  Submit("team/7-1", 5, 3);
  while (Step()) continue;
  EXPECT_EQ(Value(R"(lorry:adapter_requests_total{adapter="team/7-1")"), 1);
}

TEST_F(MetricsTest, WhatARequestBringsAlongIsNoLabel) {
  for (int i = 0; i < 3; ++i) {
    GenerateRequest request;
    request.id = RequestId{++last_id_};
    const std::string uri = "hf://org/private-" + std::to_string(i);
    request.adapters = {
        {.name = uri, .handle = FakeAdapter(i + 1), .source = AdapterSource{uri, "t"}}};
    request.prompt.assign(5, 3);
    request.sampling.max_tokens = 3;
    request.sampling.ignore_eos = true;
    core_->num_queued() += 1;
    core_->Submit({request, std::make_shared<Collector>()});
  }
  do {
    core_->OnIdle();
    std::ostringstream all;
    all << prometheus::TextSerializer().Serialize(registry_.Collect());
    EXPECT_THAT(all.str(), ::testing::Not(HasSubstr("private")));
  } while (Step());
  EXPECT_EQ(Value("lorry:adapter_requests_total{adapter=\"(others)\""), 3);
}

TEST_F(MetricsTest, SeriesAndLabelsAreBounded) {
  constexpr int kNames = 5000;
  std::vector<std::string> waiting;
  for (int i = 0; i < kNames; ++i) waiting.push_back("n" + std::to_string(i));
  EngineMetrics metrics(registry_, "other-base", {});
  for (const std::string& name : waiting)
    metrics.CountersFor(std::vector<AdapterTerm>{{.name = name}});
  EXPECT_EQ(Lines("lorry:adapter_requests_total{").size(), 4096u + 1);
  core_->ShowWaiting({.num_requests = kNames, .adapters = waiting});
  core_->OnIdle();
  const std::string line = Lines("vllm:lora_requests_info").at(0);
  EXPECT_EQ(std::ranges::count(line, ','), 256 - 1 + 2);
}

TEST_F(MetricsTest, DescribesTheCache) {
  EXPECT_THAT(Lines("vllm:cache_config_info"),
              ElementsAre(R"(vllm:cache_config_info{block_size="16",cache_dtype="F32",)"
                          R"(engine="0",num_gpu_blocks="12"} 1)"));
}

}  // namespace
}  // namespace lorry::engine
