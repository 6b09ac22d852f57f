// An engine over the fake model (engine/fake_step_model.h) whose steps a test can hold.
// Owns: nothing beyond one test. Thread: the test's.
#pragma once

#include <gtest/gtest.h>
#include <prometheus/registry.h>

#include <algorithm>
#include <atomic>
#include <memory>
#include <semaphore>
#include <thread>
#include <utility>
#include <vector>

#include "engine/collector.h"
#include "engine/engine.h"
#include "engine/fake_step_model.h"

namespace lorry::engine {

inline constexpr int kVocab = 40;

inline EngineOptions SmallEngine() {
  EngineOptions options;
  options.model_name = "base";
  options.num_threads = 2;
  options.max_num_seqs = 8;
  options.max_num_batched_tokens = 24;
  options.max_waiting = 10;
  options.pool_bytes = 256 * 40;  // 40 pages
  return options;
}

class EngineTest : public ::testing::Test {
 protected:
  void Start(const EngineOptions& options = SmallEngine(), const FakeModelOptions& fake = {}) {
    auto model = std::make_unique<FakeStepModel>(fake);
    model_ = model.get();
    model_->before_forward = [this] {
      if (!gate_closed_) return;
      ++steps_at_gate_;
      gate_.acquire();
    };
    auto engine = Engine::Create(options, std::move(model), &registry_);
    ASSERT_TRUE(engine.has_value()) << engine.error().message;
    engine_ = std::move(*engine);
  }

  // Fails when so many do not come.
  void AwaitStepsAtGate(int count) {
    const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(60);
    while (steps_at_gate_ < count) {
      if (std::chrono::steady_clock::now() > end) {
        FAIL() << steps_at_gate_ << " steps have come to the gate, not " << count;
      }
      std::this_thread::yield();
    }
  }
  // Each later step waits for one LetStep.
  void CloseGate() { gate_closed_ = true; }
  // A step, its rows chosen, waits.
  void AwaitStepAtGate() { AwaitStepsAtGate(1); }
  void LetSteps(int num_steps) { gate_.release(num_steps); }
  // The gate has been closed from the start: these end, and the rows of the next are chosen.
  void AwaitSteps(int num_steps) {
    const int at_gate = steps_at_gate_;
    LetSteps(num_steps);
    AwaitStepsAtGate(at_gate + num_steps);
  }
  void OpenGate() {
    gate_closed_ = false;
    gate_.release(1);
  }

  GenerateRequest Request(int num_prompt, int max_tokens) {
    GenerateRequest request;
    request.id = RequestId{++last_id_};
    request.prompt.resize(num_prompt);
    for (int i = 0; i < num_prompt; ++i) request.prompt[i] = (i * 7 + num_prompt) % kVocab;
    request.sampling.temperature = 0;
    request.sampling.max_tokens = max_tokens;
    request.sampling.ignore_eos = true;
    return request;
  }

  std::shared_ptr<Collector> Submit(const GenerateRequest& request) {
    auto sink = std::make_shared<Collector>(request.num_sequences);
    const Status status = engine_->Submit(request, sink);
    EXPECT_TRUE(status.has_value()) << status.error().message;
    return sink;
  }

  Error Refusal(const GenerateRequest& request) {
    const Status status = engine_->Submit(request, std::make_shared<Collector>());
    EXPECT_FALSE(status.has_value());
    return status ? Error{} : status.error();
  }

  // Greedy, straight from the fake's definition.
  std::vector<TokenId> Expected(std::vector<TokenId> tokens, int num_new, int adapter = -1) const {
    const auto image = adapter < 0 ? nullptr : FakeAdapter(adapter);
    std::vector<TokenId> output;
    for (int i = 0; i < num_new; ++i) {
      const std::vector<float> logits =
          model_->LogitsAfter(tokens, image ? &*image->weights : nullptr);
      output.push_back(std::max_element(logits.begin(), logits.end()) - logits.begin());
      tokens.push_back(output.back());
    }
    return output;
  }

  std::atomic<bool> gate_closed_ = false;
  std::counting_semaphore<1000> gate_{0};
  std::atomic<int> steps_at_gate_{0};
  prometheus::Registry registry_;
  FakeStepModel* model_ = nullptr;
  std::unique_ptr<Engine> engine_;
  uint64_t last_id_ = 0;
};

}  // namespace lorry::engine
