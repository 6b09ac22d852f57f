// Random requests in a cache that is too small for them: sequences are preempted, replayed,
// cancelled and mixed with others at random, and each answer must be the one that the same request
// gets alone in a large cache.
#include <gtest/gtest.h>
#include <prometheus/registry.h>

#include <map>
#include <random>

#include "base/check.h"
#include "engine/collector.h"
#include "engine/engine_core.h"
#include "engine/fake_step_model.h"

namespace lorry::engine {
namespace {

constexpr int kVocab = 40;
constexpr int kMaxModelLen = 128;

// Keeps the logits that each token was drawn from.
class LogitsObserver final : public EngineObserver {
 public:
  void OnLogits(RequestId request, int seq_idx, int position,
                std::span<const float> logits) override {
    std::vector<float>& kept = logits_[{request.value, seq_idx, position}];
    if (!kept.empty()) {
      EXPECT_TRUE(std::equal(kept.begin(), kept.end(), logits.begin())) << "a replay differs";
    }
    kept.assign(logits.begin(), logits.end());
  }
  void OnStep(const StepInfo& step) override {
    EXPECT_EQ(step.num_rows, step.num_decode_rows + step.num_prompt_rows);
    most_adapters_ = std::max(most_adapters_, step.num_adapters);
  }

  std::map<std::tuple<uint64_t, int, int>, std::vector<float>> logits_;
  int most_adapters_ = 0;
};

struct Setup {
  EngineOptions options;
  FakeModelOptions fake;
  int num_pages = 0;
};

// A core, and what the engine's thread does for it between steps.
struct Core {
  Core(const Setup& setup, prometheus::Registry& registry)
      : core(
            setup.options, std::make_unique<FakeStepModel>(setup.fake),
            *PagePool::Create(256, setup.num_pages),
            [this](AdapterCopied message) { copied.SendAlways(std::move(message)); }, registry) {}

  // A step, or the wait for an adapter. False: everything has been answered.
  bool Step() {
    std::vector<AdapterCopied> arrived;
    copied.Drain(arrived);
    for (AdapterCopied& message : arrived) core.OnCopied(std::move(message));
    if (core.Step()) return true;
    if (!core.idle()) copied.WaitFor(std::chrono::seconds(10));
    return !core.idle();
  }

  Mailbox<AdapterCopied> copied{SIZE_MAX};
  EngineCore core;
};

Setup RandomSetup(std::mt19937& random) {
  Setup setup;
  setup.options.max_model_len = kMaxModelLen;
  setup.options.max_num_seqs = 1 + random() % 10;
  setup.options.max_num_batched_tokens = setup.options.max_num_seqs + random() % 40;
  setup.options.max_prompt_chunk = random() % 3 == 0 ? 1 + random() % 20 : 0;
  setup.options.max_reserved_output_tokens = 1 + random() % 30;
  setup.fake.max_logit_rows = setup.options.max_num_seqs + random() % 20;
  setup.num_pages = kMaxModelLen / 16 + 6 + random() % 30;  // the largest sum has six
  if (random() % 2 == 0) setup.options.adapter_floor_bytes = 256 * (random() % 8);
  return setup;
}

GenerateRequest RandomRequest(std::mt19937& random, uint64_t id) {
  GenerateRequest request;
  request.id = RequestId{id};
  request.prompt.resize(1 + random() % 80);
  for (TokenId& token : request.prompt) token = random() % kVocab;
  if (random() % 3 != 0) request.adapters = {{.handle = FakeAdapter(random() % 9)}};
  if (random() % 4 == 0) {
    request.adapters.push_back({.weight = 0.5f, .handle = FakeAdapter(random() % 9)});
  }
  request.num_sequences = random() % 5 == 0 ? 3 : 1;
  SamplingParams& sampling = request.sampling;
  sampling.temperature = random() % 2 == 0 ? 0.0f : 0.9f;
  sampling.seed = random();
  sampling.max_tokens = random() % 100;
  sampling.min_tokens = random() % 20;
  sampling.ignore_eos = random() % 2 == 0;
  sampling.repetition_penalty = random() % 4 == 0 ? 1.3f : 1.0f;
  sampling.presence_penalty = random() % 4 == 0 ? 0.7f : 0.0f;
  sampling.num_logprobs = random() % 3 == 0 ? 2 : -1;
  sampling.prompt_logprobs = sampling.num_logprobs >= 0 && random() % 2 == 0;
  return request;
}

void Submit(EngineCore& core, const GenerateRequest& request, std::shared_ptr<Collector> sink) {
  core.num_queued() += request.num_sequences;
  GenerateRequest submitted = request;
  submitted.arrival_us = Clock::Steady().NowUs();
  core.Submit({std::move(submitted), std::move(sink)});
}

std::vector<Answer> Alone(const GenerateRequest& request) {
  Setup setup;
  setup.options.max_model_len = kMaxModelLen;
  setup.options.max_num_seqs = 1;
  setup.options.max_num_batched_tokens = 64;
  setup.num_pages = kMaxModelLen / 16 + 6;
  prometheus::Registry registry;
  Core core(setup, registry);
  const auto sink = std::make_shared<Collector>(request.num_sequences);
  Submit(core.core, request, sink);
  while (core.Step()) continue;
  EXPECT_EQ(core.core.stats().num_preemptions, 0u);
  return sink->Answers();
}

void ExpectSame(const Answer& mixed, const Answer& alone, const std::string& where) {
  if (mixed.finish == FinishReason::kCancelled) {
    ASSERT_LE(mixed.tokens.size(), alone.tokens.size()) << where;
    ASSERT_TRUE(std::equal(mixed.tokens.begin(), mixed.tokens.end(), alone.tokens.begin()))
        << where;
    return;
  }
  ASSERT_EQ(mixed.tokens, alone.tokens) << where;
  ASSERT_EQ(mixed.logprobs, alone.logprobs) << where;
  ASSERT_EQ(mixed.finish, alone.finish) << where;
  ASSERT_EQ(mixed.stop_token, alone.stop_token) << where;
  ASSERT_EQ(mixed.prompt_logprobs.size(), alone.prompt_logprobs.size()) << where;
  for (size_t i = 0; i < mixed.prompt_logprobs.size(); ++i) {
    ASSERT_EQ(mixed.prompt_logprobs[i].token, alone.prompt_logprobs[i].token) << where;
    ASSERT_EQ(mixed.prompt_logprobs[i].logprob, alone.prompt_logprobs[i].logprob) << where;
  }
}

struct Totals {
  uint64_t num_preemptions = 0;
  uint64_t num_loads = 0;
  uint64_t num_evictions = 0;
  int num_cancelled = 0;
  int most_adapters = 0;
};

void RunTrial(unsigned seed, Totals& totals) {
  std::mt19937 random(seed);
  LogitsObserver observer;
  Setup setup = RandomSetup(random);
  setup.options.observer = &observer;
  prometheus::Registry registry;
  Core stepper(setup, registry);
  EngineCore* const core = &stepper.core;

  std::vector<GenerateRequest> requests;
  std::vector<std::shared_ptr<Collector>> sinks;
  const size_t num_requests = 1 + random() % 25;
  while (requests.size() < num_requests || !core->idle()) {
    if (requests.size() < num_requests && (core->idle() || random() % 4 == 0)) {
      requests.push_back(RandomRequest(random, requests.size()));
      const auto& request = requests.back();
      sinks.push_back(std::make_shared<Collector>(request.num_sequences));
      Submit(*core, request, sinks.back());
    }
    if (random() % 50 == 0) {
      const auto& victim = requests[random() % requests.size()];
      core->Cancel(victim.id, random() % 2 == 0 ? -1 : int(random() % victim.num_sequences));
    }
    stepper.Step();
    core->residency().CheckInvariants();
  }
  EXPECT_EQ(core->pool().num_free() + core->pool().num_lent(), core->pool().num_pages());
  EXPECT_EQ(core->num_queued(), 0);
  EXPECT_FALSE(core->Step());

  for (size_t i = 0; i < requests.size(); ++i) {
    const std::vector<Answer> alone = Alone(requests[i]);
    const std::vector<Answer> mixed = sinks[i]->Answers();
    for (int j = 0; j < requests[i].num_sequences; ++j) {
      ASSERT_NO_FATAL_FAILURE(
          ExpectSame(mixed[j], alone[j], fmt::format("seed {} request {}.{}", seed, i, j)));
      totals.num_cancelled += mixed[j].finish == FinishReason::kCancelled;
    }
  }
  totals.num_preemptions += core->stats().num_preemptions;
  totals.num_loads += core->residency().stats().num_loads;
  totals.num_evictions += core->residency().stats().num_evicted_for_kv;
  totals.num_evictions += core->residency().stats().num_evicted_for_adapters;
  totals.most_adapters = std::max(totals.most_adapters, observer.most_adapters_);
}

TEST(EngineProperties, AnswersAreThoseOfALoneRequest) {
  Totals totals;
  for (unsigned seed = 0; seed < 250; ++seed) {
    ASSERT_NO_FATAL_FAILURE(RunTrial(seed, totals)) << "seed " << seed;
  }
  // The trials are worth something only if all this really happened.
  EXPECT_GT(totals.num_preemptions, 200u);
  EXPECT_GT(totals.num_loads, 1000u);
  EXPECT_GT(totals.num_evictions, 300u);
  EXPECT_GT(totals.num_cancelled, 50);
  EXPECT_GE(totals.most_adapters, 5);
}

}  // namespace
}  // namespace lorry::engine
