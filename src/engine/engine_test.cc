#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <vector>

#include "engine/engine_testing.h"

namespace lorry::engine {
namespace {

using ::testing::HasSubstr;

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
  request.sampling.num_logprobs = 0;
  Answer answer = Submit(request)->Get();
  EXPECT_EQ(answer.tokens.size(), 4u);
  EXPECT_EQ(answer.finish, FinishReason::kStop);
  EXPECT_EQ(answer.stop_token, kVocab + 3);
  EXPECT_LT(answer.stop_logprob, 0);
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
  expect(request, kInvalid, "n", "between 1 and 5");
  request.num_sequences = 6;  // more than half of those that may wait
  expect(request, kInvalid, "n", "between 1 and 5");
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

}  // namespace
}  // namespace lorry::engine
