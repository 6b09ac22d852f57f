#include "engine/engine.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <prometheus/registry.h>

#include <algorithm>
#include <cmath>
#include <ctime>
#include <latch>
#include <numeric>
#include <semaphore>

#include "engine/collector.h"
#include "engine/fake_step_model.h"

namespace lorry::engine {
namespace {

using std::chrono::milliseconds;
using ::testing::HasSubstr;

constexpr int kVocab = 40;

EngineOptions SmallEngine() {
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

  // Each later step waits for one LetStep.
  void CloseGate() { gate_closed_ = true; }
  // A step, its rows chosen, waits.
  void AwaitStepAtGate() {
    while (steps_at_gate_ == 0) std::this_thread::yield();
  }
  void LetSteps(int num_steps) { gate_.release(num_steps); }
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

TEST_F(EngineTest, AnswersWhatTheModelSays) {
  Start();
  const GenerateRequest request = Request(5, 30);
  const Answer answer = Submit(request)->Get();
  EXPECT_EQ(answer.tokens, Expected(request.prompt, 30));
  EXPECT_EQ(answer.finish, FinishReason::kLength);
  EXPECT_EQ(answer.stop_token, -1);
}

TEST_F(EngineTest, PromptsLongerThanAStepComeInChunks) {
  Start();
  const GenerateRequest request = Request(150, 5);
  EXPECT_EQ(Submit(request)->Get().tokens, Expected(request.prompt, 5));
  EXPECT_GE(engine_->stats().num_steps, 150u / 24);
}

TEST_F(EngineTest, AdaptersShareSteps) {
  Start();
  for (int i = 0; i < 4; ++i) {  // all are in the pool, none on its way
    GenerateRequest request = Request(2, 1);
    request.adapters = {{.handle = FakeAdapter(i)}};
    Submit(request)->Get();
  }
  CloseGate();
  std::vector<GenerateRequest> requests;
  std::vector<std::shared_ptr<Collector>> sinks;
  for (int i = 0; i < 8; ++i) {
    requests.push_back(Request(2 + i % 2, 20));
    if (i > 0) requests.back().adapters = {{.handle = FakeAdapter(i % 4)}};
    sinks.push_back(Submit(requests.back()));
  }
  OpenGate();
  for (int i = 0; i < 8; ++i) {
    EXPECT_EQ(sinks[i]->Get().tokens, Expected(requests[i].prompt, 20, i == 0 ? -1 : i % 4)) << i;
  }
  EXPECT_EQ(engine_->stats().max_adapters_in_step, 4);
}

// Greedy, with logprobs, on the base and on vocabularies that are larger and smaller, in one step.
TEST_F(EngineTest, RowsOfEveryVocabularyShareSteps) {
  Start();
  constexpr int kVocabs[] = {0, kVocab + 9, 10, kVocab};  // 0: the base's
  std::vector<GenerateRequest> requests;
  std::vector<std::shared_ptr<Collector>> sinks;
  CloseGate();
  for (int i = 0; i < 4; ++i) {
    requests.push_back(Request(5, 60));
    for (TokenId& token : requests[i].prompt) token %= 10;
    requests[i].sampling.num_logprobs = 0;
    requests[i].sampling.prompt_logprobs = true;
    if (i > 0) requests[i].adapters = {{.handle = FakeAdapter(i, kVocabs[i])}};
    sinks.push_back(Submit(requests[i]));
  }
  OpenGate();
  for (int i = 0; i < 4; ++i) {
    const auto image = i == 0 ? nullptr : FakeAdapter(i, kVocabs[i]);
    const auto* weights = image ? &*image->weights : nullptr;
    const Answer answer = sinks[i]->Get();
    std::vector<TokenId> tokens = requests[i].prompt;
    ASSERT_EQ(answer.tokens.size(), 60u);
    for (size_t k = 0; k < 60; ++k) {
      const std::vector<float> logits = model_->LogitsAfter(tokens, weights);
      const auto best = std::max_element(logits.begin(), logits.end());
      ASSERT_EQ(answer.tokens[k], best - logits.begin()) << i << " " << k;
      double sum = 0;
      for (float logit : logits) sum += std::exp(logit);
      EXPECT_NEAR(answer.logprobs[k], *best - std::log(sum), 1e-4);
      tokens.push_back(answer.tokens[k]);
    }
    const int vocab_size = kVocabs[i] == 0 ? kVocab : kVocabs[i];
    const TokenId largest = *std::max_element(tokens.begin(), tokens.end());
    EXPECT_LT(largest, vocab_size);
    EXPECT_GE(largest, vocab_size - 5) << "the end of the vocabulary was never drawn";
    for (const TokenOutput& prompt : answer.prompt_logprobs) EXPECT_GT(prompt.logprob, -10);
  }
}

TEST_F(EngineTest, TokensAreCheckedAgainstTheAdaptersVocabulary) {
  Start();
  const auto param_of = [this](GenerateRequest request) { return Refusal(request).param; };
  GenerateRequest request = Request(3, 2);
  request.adapters = {{.handle = FakeAdapter(1, kVocab + 9)}};
  request.prompt = {kVocab + 8};
  request.sampling.logit_bias = {{kVocab + 8, 100.0f}};
  request.sampling.stop_token_ids = {kVocab + 7};
  EXPECT_EQ(Submit(request)->Get().tokens, std::vector<TokenId>(2, kVocab + 8));
  request.id = RequestId{++last_id_};
  request.adapters.clear();
  EXPECT_EQ(param_of(request), "prompt");
  request.adapters = {{.handle = FakeAdapter(2, 10)}};
  request.prompt = {10};
  EXPECT_EQ(param_of(request), "prompt");
  request.prompt = {9};
  EXPECT_EQ(param_of(request), "stop_token_ids");
  request.sampling.stop_token_ids = {9};
  EXPECT_EQ(param_of(request), "logit_bias");
  EXPECT_THAT(Refusal(request).message, HasSubstr("has 10 tokens"));
}

TEST_F(EngineTest, EndsAtTheRequestsOwnEndOfSequence) {
  Start();
  GenerateRequest request = Request(5, 50);
  request.adapters = {{.handle = FakeAdapter(1, kVocab + 9)}};
  request.sampling.ignore_eos = false;
  request.sampling.logit_bias = {{kVocab + 3, 100.0f}};
  request.eos_ids = {kVocab + 3};
  request.sampling.min_tokens = 4;
  Answer answer = Submit(request)->Get();
  EXPECT_EQ(answer.tokens.size(), 4u);
  EXPECT_EQ(answer.finish, FinishReason::kStop);
  EXPECT_EQ(answer.stop_token, kVocab + 3);
  request.id = RequestId{++last_id_};
  request.sampling.ignore_eos = true;
  answer = Submit(request)->Get();
  EXPECT_EQ(answer.tokens.size(), 50u);
}

TEST_F(EngineTest, EndsAtAnEndOfSequenceId) {
  Start();
  GenerateRequest request = Request(5, 200);
  const std::vector<TokenId> all = Expected(request.prompt, 200);
  request.sampling.ignore_eos = false;
  const auto eos = std::find(all.begin(), all.end(), 0);
  ASSERT_NE(eos, all.end());
  const Answer answer = Submit(request)->Get();
  EXPECT_EQ(answer.tokens, std::vector<TokenId>(all.begin(), eos));
  EXPECT_EQ(answer.finish, FinishReason::kStop);
  EXPECT_EQ(answer.stop_token, 0);
}

TEST_F(EngineTest, EndsAtAnIdThatTheOptionsName) {
  FakeModelOptions fake;
  fake.eos_ids = {};
  EngineOptions options = SmallEngine();
  options.eos_ids = {-3, kVocab, 0};  // two of them are no tokens of this model
  Start(options, fake);
  GenerateRequest request = Request(5, 200);
  request.sampling.ignore_eos = false;
  request.sampling.min_tokens = 1;
  const Answer answer = Submit(request)->Get();
  EXPECT_EQ(answer.finish, FinishReason::kStop);
  EXPECT_EQ(answer.stop_token, 0);
}

TEST_F(EngineTest, EndsAtAStopId) {
  Start();
  GenerateRequest request = Request(5, 50);
  const std::vector<TokenId> all = Expected(request.prompt, 50);
  request.sampling.stop_token_ids = {all[20]};
  const auto stop = std::find(all.begin(), all.end(), all[20]);
  const Answer answer = Submit(request)->Get();
  EXPECT_EQ(answer.tokens, std::vector<TokenId>(all.begin(), stop));
  EXPECT_EQ(answer.finish, FinishReason::kStop);
  EXPECT_EQ(answer.stop_token, all[20]);
}

TEST_F(EngineTest, DrawsNoStopBeforeMinTokens) {
  Start();
  GenerateRequest request = Request(5, 60);
  request.sampling.ignore_eos = false;
  request.sampling.min_tokens = 40;
  request.sampling.stop_token_ids.resize(kVocab - 8);
  std::iota(request.sampling.stop_token_ids.begin(), request.sampling.stop_token_ids.end(), 1);
  const Answer answer = Submit(request)->Get();
  ASSERT_GE(answer.tokens.size(), 40u);
  for (TokenId token : answer.tokens) EXPECT_GE(token, kVocab - 7);
  EXPECT_EQ(answer.finish, FinishReason::kStop);
}

TEST_F(EngineTest, TellsLogprobsOfThePrompt) {
  FakeModelOptions fake;
  fake.max_logit_rows = 10;  // a prompt of 50 takes several steps
  Start(SmallEngine(), fake);
  GenerateRequest request = Request(50, 3);
  request.sampling.prompt_logprobs = true;
  request.sampling.num_logprobs = 0;
  const Answer answer = Submit(request)->Get();
  EXPECT_EQ(answer.tokens, Expected(request.prompt, 3));
  ASSERT_EQ(answer.prompt_logprobs.size(), 50u);
  EXPECT_EQ(answer.prompt_logprobs[0].token, request.prompt[0]);
  for (int i = 1; i < 50; ++i) {
    const auto logits = model_->LogitsAfter(std::span(request.prompt).first(i));
    double sum = 0;
    for (float logit : logits) sum += std::exp(logit);
    EXPECT_EQ(answer.prompt_logprobs[i].token, request.prompt[i]);
    EXPECT_NEAR(answer.prompt_logprobs[i].logprob, logits[request.prompt[i]] - std::log(sum), 1e-4);
  }
}

TEST_F(EngineTest, NoTokensAskedFor) {
  Start();
  GenerateRequest request = Request(40, 0);
  request.sampling.prompt_logprobs = true;
  const Answer answer = Submit(request)->Get();
  EXPECT_TRUE(answer.tokens.empty());
  EXPECT_EQ(answer.prompt_logprobs.size(), 40u);
  EXPECT_EQ(answer.finish, FinishReason::kLength);
}

TEST_F(EngineTest, SequencesOfARequestDifferBySeed) {
  Start();
  GenerateRequest request = Request(6, 25);
  request.num_sequences = 4;
  request.sampling.temperature = 1;
  request.sampling.seed = 77;
  const std::vector<Answer> first = Submit(request)->Answers();
  request.id = RequestId{++last_id_};
  const std::vector<Answer> second = Submit(request)->Answers();
  for (int i = 0; i < 4; ++i) {
    EXPECT_EQ(first[i].tokens.size(), 25u);
    EXPECT_EQ(first[i].tokens, second[i].tokens);
    for (int j = 0; j < i; ++j) EXPECT_NE(first[i].tokens, first[j].tokens);
  }
}

TEST_F(EngineTest, MaxTokensEndsWithTheContext) {
  EngineOptions options = SmallEngine();
  options.max_model_len = 64;
  Start(options);
  const Answer answer = Submit(Request(60, 1000))->Get();
  EXPECT_EQ(answer.tokens.size(), 4u);
  EXPECT_EQ(answer.finish, FinishReason::kLength);
}

TEST_F(EngineTest, RefusesWhatItCannotServe) {
  EngineOptions options = SmallEngine();
  options.max_model_len = 64;
  Start(options);
  const auto expect = [this](GenerateRequest request, ErrorCode code, const char* param,
                             const char* text) {
    const Error error = Refusal(request);
    EXPECT_EQ(error.code, code) << text;
    EXPECT_EQ(error.param, param);
    EXPECT_THAT(error.message, HasSubstr(text));
  };
  constexpr auto kInvalid = ErrorCode::kInvalidArgument;
  expect(Request(0, 5), kInvalid, "prompt", "no tokens");
  expect(Request(64, 5), kInvalid, "prompt",
         "maximum context length is 64 tokens. However, you requested 65 tokens");
  GenerateRequest request = Request(5, 5);
  request.prompt[2] = kVocab;
  expect(request, kInvalid, "prompt", "token id 40");
  request = Request(5, 5);
  request.prompt[2] = -1;
  expect(request, kInvalid, "prompt", "token id -1");
  expect(Request(5, -1), kInvalid, "max_tokens", "max_tokens");
  request = Request(5, 5);
  request.num_sequences = 0;
  expect(request, kInvalid, "n", "between 1 and 10");
  request.num_sequences = 11;
  expect(request, kInvalid, "n", "between 1 and 10");
  request = Request(5, 5);
  request.sampling.stop_token_ids = {1000};
  expect(request, kInvalid, "stop_token_ids", "1000");
  request = Request(5, 5);
  request.sampling.logit_bias = {{-5, 1.0f}};
  expect(request, kInvalid, "logit_bias", "-5");
  request = Request(5, 5);
  request.sampling.num_logprobs = 41;
  expect(request, kInvalid, "logprobs", "between 0 and 40");
  EXPECT_EQ(Submit(Request(63, 5))->Get().tokens.size(), 1u);
}

TEST_F(EngineTest, RefusesOptionsThatDoNotFit) {
  const auto param = [this](EngineOptions options) {
    const auto engine =
        Engine::Create(options, std::make_unique<FakeStepModel>(FakeModelOptions()), &registry_);
    return engine ? "" : engine.error().param;
  };
  EXPECT_EQ(param(SmallEngine()), "");
  const auto with = [](auto change) {
    EngineOptions options = SmallEngine();
    change(options);
    return options;
  };
  EXPECT_EQ(param(with([](auto& o) { o.max_num_seqs = 0; })), "max_num_seqs");
  EXPECT_EQ(param(with([](auto& o) { o.max_num_seqs = 65; })), "max_num_seqs");
  EXPECT_EQ(param(with([](auto& o) { o.max_num_batched_tokens = 7; })), "max_num_batched_tokens");
  EXPECT_EQ(param(with([](auto& o) { o.max_num_batched_tokens = 65; })), "max_num_batched_tokens");
  EXPECT_EQ(param(with([](auto& o) { o.page_tokens = 24; })), "page_tokens");
  EXPECT_EQ(param(with([](auto& o) { o.max_model_len = 257; })), "max_model_len");
  EXPECT_EQ(param(with([](auto& o) { o.pool_bytes = 100; })), "pool_bytes");
  EXPECT_EQ(param(with([](auto& o) {
              o.max_model_len = 200;
              o.pool_bytes = 256 * 12;
            })),
            "pool_bytes");
}

TEST_F(EngineTest, ContextFollowsTheCache) {
  EngineOptions options = SmallEngine();
  options.pool_bytes = 256 * 6;
  Start(options);
  EXPECT_EQ(engine_->max_model_len(), 96);
  options.pool_bytes = size_t{1} << 20;
  Start(options);
  EXPECT_EQ(engine_->max_model_len(), 256);
  EXPECT_EQ(engine_->pool_bytes(), options.pool_bytes);
}

TEST_F(EngineTest, AFullQueueRefuses) {
  Start();
  CloseGate();
  std::vector<std::shared_ptr<Collector>> sinks = {Submit(Request(4, 4))};
  while (engine_->Submit(Request(4, 4), std::make_shared<Collector>()).has_value()) continue;
  const Error error = Refusal(Request(4, 4));
  EXPECT_EQ(error.code, ErrorCode::kResourceExhausted);
  EXPECT_THAT(error.message, HasSubstr("10"));
  OpenGate();
  sinks[0]->Get();
  // There is room again once the others have started.
  const auto sink = std::make_shared<Collector>();
  while (!engine_->Submit(Request(4, 4), sink).has_value()) std::this_thread::yield();
  EXPECT_EQ(sink->Get().tokens.size(), 4u);
}

TEST_F(EngineTest, CancelBeforeTheFirstToken) {
  Start();
  CloseGate();
  const auto running = Submit(Request(100, 4));  // its prompt takes several steps
  AwaitStepAtGate();                             // so the other is in none of them yet
  GenerateRequest waiting_request = Request(4, 4);
  const auto waiting = Submit(waiting_request);
  engine_->Cancel(RequestId{1});
  engine_->Cancel(waiting_request.id);
  OpenGate();
  for (const auto& sink : {running, waiting}) {
    EXPECT_EQ(sink->Get().finish, FinishReason::kCancelled);
    EXPECT_TRUE(sink->Get().tokens.empty());
  }
  Submit(Request(3, 3))->Get();
  engine_->Stop(milliseconds(0));
  EXPECT_EQ(engine_->stats().kv_pages_used, 0);
}

TEST_F(EngineTest, ARequestWaitsUntilItsLastSequenceBegins) {
  EngineOptions options = SmallEngine();
  options.max_num_seqs = 1;
  Start(options);
  CloseGate();
  GenerateRequest two = Request(4, 2), cancelled = Request(4, 2);
  two.num_sequences = 2;
  two.waiting = std::make_shared<WaitingRequest>();
  cancelled.waiting = std::make_shared<WaitingRequest>();
  const std::weak_ptr<WaitingRequest> first = two.waiting, second = cancelled.waiting;
  const auto two_sink = Submit(two), cancelled_sink = Submit(cancelled);
  two.waiting.reset();
  cancelled.waiting.reset();
  LetSteps(1);
  EXPECT_FALSE(first.expired()) << "one of its sequences has begun";
  EXPECT_FALSE(second.expired());
  engine_->Cancel(cancelled.id);
  OpenGate();
  EXPECT_EQ(cancelled_sink->Get().finish, FinishReason::kCancelled);
  EXPECT_TRUE(second.expired());
  EXPECT_EQ(two_sink->Answers().at(1).finish, FinishReason::kLength);
  EXPECT_TRUE(first.expired());
}

TEST_F(EngineTest, CancelAfterTheFirstToken) {
  Start();
  CloseGate();
  const auto sink = Submit(Request(4, 200));
  LetSteps(3);
  sink->WaitForTokens(2);
  engine_->Cancel(RequestId{1});
  OpenGate();
  const Answer answer = sink->Get();
  EXPECT_EQ(answer.finish, FinishReason::kCancelled);
  EXPECT_GE(answer.tokens.size(), 2u);
  EXPECT_LE(answer.tokens.size(), 5u);
  engine_->Cancel(RequestId{1});     // ended
  engine_->Cancel(RequestId{4711});  // never seen
  EXPECT_EQ(Submit(Request(3, 3))->Get().tokens.size(), 3u);
}

TEST_F(EngineTest, CancelOneSequenceOfARequest) {
  Start();
  CloseGate();
  GenerateRequest request = Request(4, 12);
  request.num_sequences = 3;
  const auto sink = Submit(request);
  engine_->Cancel(request.id, 1);
  OpenGate();
  const std::vector<Answer> answers = sink->Answers();
  EXPECT_EQ(answers[0].finish, FinishReason::kLength);
  EXPECT_EQ(answers[1].finish, FinishReason::kCancelled);
  EXPECT_EQ(answers[2].finish, FinishReason::kLength);
}

TEST_F(EngineTest, StopLetsTheOthersFinish) {
  Start();
  std::vector<std::shared_ptr<Collector>> sinks;
  for (int i = 0; i < 6; ++i) sinks.push_back(Submit(Request(30, 100)));
  engine_->Stop(std::chrono::minutes(1));
  for (const auto& sink : sinks) EXPECT_EQ(sink->Get().finish, FinishReason::kLength);
  EXPECT_EQ(Refusal(Request(3, 3)).code, ErrorCode::kUnavailable);
  engine_->Cancel(RequestId{1});
  engine_->Stop(milliseconds(0));
}

TEST_F(EngineTest, StopCancelsWhatTakesTooLong) {
  Start();
  CloseGate();
  const auto running = Submit(Request(4, 200));
  const auto waiting = Submit(Request(200, 4));
  LetSteps(2);
  running->WaitForTokens(1);
  std::thread stopper([this] { engine_->Stop(milliseconds(1)); });
  std::this_thread::sleep_for(milliseconds(5));
  OpenGate();
  stopper.join();
  EXPECT_EQ(running->Get().finish, FinishReason::kCancelled);
  EXPECT_EQ(waiting->Get().finish, FinishReason::kCancelled);
}

TEST_F(EngineTest, ASecondStopShortensTheFirst) {
  Start();
  CloseGate();
  const auto sink = Submit(Request(4, 200));
  LetSteps(2);
  sink->WaitForTokens(1);
  std::thread first([this] { engine_->Stop(std::chrono::hours(1)); });
  const auto is_stopping = [this] {
    const Status status = engine_->Submit(Request(1, 1), std::make_shared<Collector>());
    return !status && status.error().code == ErrorCode::kUnavailable;
  };
  while (!is_stopping()) std::this_thread::sleep_for(milliseconds(1));
  std::thread second([this] { engine_->Stop(milliseconds(0)); });
  std::this_thread::sleep_for(milliseconds(5));
  OpenGate();
  second.join();
  first.join();
  EXPECT_EQ(sink->Get().finish, FinishReason::kCancelled);
}

TEST_F(EngineTest, DestructionCancels) {
  Start();
  CloseGate();
  const auto sink = Submit(Request(4, 200));
  OpenGate();
  engine_.reset();
  EXPECT_TRUE(sink->is_finished());
}

TEST_F(EngineTest, AnIdleEngineSleeps) {
  Start();
  Submit(Request(3, 3))->Get();
  std::this_thread::sleep_for(milliseconds(50));  // compute threads spin for a moment
  const std::clock_t before = std::clock();       // of all threads
  std::this_thread::sleep_for(milliseconds(300));
  EXPECT_LT(std::clock() - before, CLOCKS_PER_SEC / 10);
}

TEST_F(EngineTest, ManyThreadsSubmitAndCancel) {
  EngineOptions options = SmallEngine();
  options.max_waiting = 1000;
  Start(options);
  std::atomic<uint64_t> next_id = 1;
  std::atomic<int> num_finished = 0;
  const auto client = [&](int number) {
    for (int i = 0; i < 40; ++i) {
      GenerateRequest request;
      request.id = RequestId{next_id++};
      request.prompt.assign(1 + (i * 13 + number) % 60, number);
      request.num_sequences = 1 + i % 3;
      request.sampling.max_tokens = 1 + i % 20;
      if (i % 2 == 0) request.adapters = {{.handle = FakeAdapter(i % 5)}};
      const auto sink = std::make_shared<Collector>(request.num_sequences);
      if (!engine_->Submit(request, sink)) continue;
      if (i % 4 == 0) engine_->Cancel(request.id, i % 8 == 0 ? -1 : 0);
      engine_->stats();
      for (const Answer& answer : sink->Answers()) num_finished += answer.finish.has_value();
    }
  };
  std::vector<std::thread> clients;
  for (int i = 0; i < 4; ++i) clients.emplace_back(client, i);
  for (std::thread& thread : clients) thread.join();
  EXPECT_EQ(num_finished, 4 * (14 * 1 + 13 * 2 + 13 * 3));
  engine_->Stop(std::chrono::minutes(1));
  EXPECT_EQ(engine_->stats().kv_pages_used, 0);
}

}  // namespace
}  // namespace lorry::engine
