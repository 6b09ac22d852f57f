#include "server/generation_plan.h"

#include <gtest/gtest.h>

#include "server/testing/test_server.h"

namespace lorry::server {
namespace {

using api::openai::ChatRequest;
using api::openai::CompletionRequest;

class PlannerTest : public testing::Test {
 protected:
  static CompletionRequest Completion(std::string prompt) {
    CompletionRequest request;
    request.prompts.emplace_back(std::move(prompt));
    return request;
  }

  static ChatRequest Chat(std::string messages_json) {
    ChatRequest request;
    request.chat.messages_json = std::move(messages_json);
    return request;
  }

  static constexpr int kMaxModelLen = 64;
  const ModelChoice kBase = {.name = "demo"};
  const Planner planner_{kMaxModelLen};
  const Planner::Text text_ = MakeText();
};

TEST_F(PlannerTest, CompletionHasTheAdapterTheTokensAndTheDefaults) {
  CompletionRequest request = Completion("hi");
  const auto handle = std::make_shared<AdapterHandle>();
  request.seed = -1;
  const GenerationPlan plan = *planner_.PlanCompletion(
      request, {"team/fr", {{.name = "team/fr", .handle = handle}}}, text_);
  ASSERT_EQ(plan.requests.size(), 1u);
  EXPECT_EQ(plan.model.name, "team/fr");
  ASSERT_EQ(plan.requests[0].adapters.size(), 1u);
  EXPECT_EQ(plan.requests[0].adapters[0].handle, handle);
  EXPECT_EQ(plan.requests[0].adapters[0].name, "team/fr");
  EXPECT_EQ(plan.requests[0].prompt, BytesOf("hi"));
  EXPECT_EQ(plan.requests[0].sampling.max_tokens, 16);
  EXPECT_EQ(plan.requests[0].sampling.seed, ~uint64_t{0});
  EXPECT_TRUE(plan.echoes.empty());
}

TEST_F(PlannerTest, SeedsAreDrawnWhenNoneIsGiven) {
  const GenerationPlan one = *planner_.PlanCompletion(Completion("hi"), kBase, text_);
  const GenerationPlan other = *planner_.PlanCompletion(Completion("hi"), kBase, text_);
  EXPECT_NE(one.requests[0].sampling.seed, other.requests[0].sampling.seed);
}

TEST_F(PlannerTest, EachPromptIsARequest) {
  CompletionRequest request = Completion("a");
  request.prompts.emplace_back(std::vector<TokenId>{'b', 'c'});
  request.n = 3;
  request.echo = true;
  const GenerationPlan plan = *planner_.PlanCompletion(request, kBase, text_);
  EXPECT_EQ(plan.num_choices(), 6);
  EXPECT_EQ(plan.requests[1].prompt, BytesOf("bc"));
  ASSERT_EQ(plan.echoes.size(), 2u);
  EXPECT_EQ(plan.echoes[0].text, "a");
  EXPECT_EQ(plan.echoes[1].text, "bc");
  EXPECT_TRUE(plan.echoes[1].offsets.empty());
}

TEST_F(PlannerTest, AnEchoWithLogProbabilitiesHasOffsets) {
  CompletionRequest request = Completion("a<|user|>é");
  request.prompts.emplace_back(std::vector<TokenId>{'b', kUserToken, 0xC3, 'c'});
  request.echo = true;
  request.sampling.num_logprobs = 0;
  request.sampling.prompt_logprobs = true;
  const GenerationPlan plan = *planner_.PlanCompletion(request, kBase, text_);
  using Offsets = std::vector<int64_t>;
  EXPECT_EQ(plan.echoes[0].offsets, (Offsets{0, 1, 9, 10}));  // as given, its special token too
  EXPECT_EQ(plan.echoes[1].text, "b\uFFFDc");
  EXPECT_EQ(plan.echoes[1].offsets, (Offsets{0, 1, 1, 2}));
}

TEST_F(PlannerTest, PromptsThatNobodyWantsAreLeft) {
  CompletionRequest request = Completion("a");
  for (const char* text : {"b", "c"}) request.prompts.emplace_back(text);
  int num_asked = 0;
  const auto plan = planner_.PlanCompletion(request, kBase, text_, [&] { return ++num_asked < 2; });
  EXPECT_EQ(plan.error().code, ErrorCode::kCancelled);
  EXPECT_EQ(num_asked, 2);
}

TEST_F(PlannerTest, PromptsThatDoNotFitAreRefused) {
  CompletionRequest request = Completion(std::string(65, 'x'));
  EXPECT_EQ(planner_.PlanCompletion(request, kBase, text_).error().code, ErrorCode::kTooLarge);
  request = Completion(std::string(size_t{1} << 24, 'x'));  // not even tokenised
  EXPECT_NE(planner_.PlanCompletion(request, kBase, text_).error().message.find("bytes of text"),
            std::string::npos);
  request = Completion("");
  EXPECT_EQ(planner_.PlanCompletion(request, kBase, text_).error().param, "prompt");
  request = Completion("hi");
  request.max_tokens = 63;
  EXPECT_EQ(planner_.PlanCompletion(request, kBase, text_).error().code, ErrorCode::kTooLarge);
}

TEST_F(PlannerTest, TextsHaveALimitBeforeTheyAreTokenised) {
  const auto tokenize = [&](size_t num_bytes) {
    return planner_.Tokenize({.input = std::string(num_bytes, 'x')}, *text_);
  };
  const size_t limit = planner_.max_text_bytes();
  EXPECT_EQ(limit, size_t{1} << 20);
  EXPECT_EQ(Planner(1 << 20).max_text_bytes(), size_t{16} << 20);
  EXPECT_EQ(tokenize(limit)->size(), limit);
  EXPECT_EQ(tokenize(limit + 1).error().code, ErrorCode::kTooLarge);
  EXPECT_EQ(tokenize(limit + 1).error().message,
            "'prompt' has 1048577 bytes of text; the limit is 1048576.");
}

TEST_F(PlannerTest, TextsOfARequestCountTogether) {
  const Planner planner(1 << 20);  // so large that each of the prompts could fit
  CompletionRequest request;
  for (int i = 0; i < 6; ++i) request.prompts.emplace_back(std::string(size_t{13} << 20, 'x'));
  const auto plan = planner.PlanCompletion(request, kBase, text_);
  ASSERT_FALSE(plan.has_value());
  EXPECT_EQ(plan.error().message,
            "The prompts have 81788928 bytes of text together; the limit is 67108864.");
}

TEST_F(PlannerTest, AllThatGoesThroughTheTemplateCounts) {
  ChatRequest request = Chat(R"([{"role":"user","content":"hi"}])");
  request.chat.template_kwargs_json = R"({"x":")" + std::string(2000, 'x') + R"("})";
  EXPECT_EQ(planner_.PlanChat(request, kBase, text_).error().param, "chat_template_kwargs");
  request.chat.tools_json = "[" + std::string(3000, ' ') + "]";
  EXPECT_EQ(planner_.PlanChat(request, kBase, text_).error().param, "tools");
  const api::openai::TokenizeRequest tokenize = {
      .input = Chat("[" + std::string(size_t{1} << 20, ' ') + "]").chat};
  EXPECT_EQ(planner_.Tokenize(tokenize, *text_).error().param, "messages");
}

TEST_F(PlannerTest, IdsThatMakeALongTextAreRefused) {
  api::openai::DetokenizeRequest request;
  request.tokens.assign(size_t{1} << 20, 'x');
  EXPECT_EQ(planner_.Detokenize(request, kBase, *text_)->size(), size_t{1} << 20);
  request.tokens.push_back('x');
  EXPECT_EQ(planner_.Detokenize(request, kBase, *text_).error().param, "tokens");
}

TEST_F(PlannerTest, AnswersOfManyLogprobsAreLarge) {
  const Planner planner(1 << 17);
  const auto is_large = [&](int n, int max_tokens, int num_logprobs, size_t num_echoed) {
    CompletionRequest request = Completion(std::string(std::max<size_t>(num_echoed, 1), 'x'));
    request.n = n;
    request.max_tokens = max_tokens;
    request.sampling.num_logprobs = num_logprobs;
    request.echo = request.sampling.prompt_logprobs = num_echoed > 0;
    return planner.PlanCompletion(request, kBase, text_)->MayAnswerLarge();
  };
  EXPECT_FALSE(is_large(1, 100'000, -1, 0));
  EXPECT_FALSE(is_large(1, 2'000, 20, 0));
  EXPECT_FALSE(is_large(128, 4'000, -1, 0));
  EXPECT_TRUE(is_large(128, 100'000, -1, 0));
  EXPECT_TRUE(is_large(1, 20'000, 5, 0));
  EXPECT_TRUE(is_large(1, 1, 5, 20'000));
}

TEST_F(PlannerTest, AnswersOfLongTokensAreLarge) {
  auto text = std::make_shared<text::ModelText>(*text_);
  CompletionRequest request = Completion("x");
  request.n = 128;
  request.max_tokens = 40;
  EXPECT_FALSE(planner_.PlanCompletion(request, kBase, text)->MayAnswerLarge());
  text->max_token_bytes = size_t{1} << 16;
  EXPECT_TRUE(planner_.PlanCompletion(request, kBase, text)->MayAnswerLarge());
}

TEST_F(PlannerTest, WhatATemplateWritesHasALimitBeforeItIsTokenised) {
  const std::string template_text =
      "{% for i in range(2100) %}" + std::string(1000, 'x') + "{% endfor %}";
  auto writes = text::ChatTemplate::FromSource(template_text, {}, "test");
  ASSERT_TRUE(writes) << writes.error().message;
  const auto text = std::make_shared<text::ModelText>(MakeByteTokenizer(), std::move(*writes));
  const auto plan = planner_.PlanChat(Chat(R"([{"role":"user","content":"hi"}])"), kBase, text);
  ASSERT_FALSE(plan);
  EXPECT_EQ(plan.error().code, ErrorCode::kTooLarge);
  EXPECT_EQ(plan.error().message,
            "The chat template wrote 2100000 bytes of text; the limit is 2097152.");
}

TEST_F(PlannerTest, ChatGoesThroughTheTemplate) {
  const GenerationPlan plan =
      *planner_.PlanChat(Chat(R"([{"role":"user","content":"hi"}])"), kBase, text_);
  std::vector<TokenId> expected = {kUserToken, 'h', 'i', kEndToken, kAssistantToken};
  EXPECT_EQ(plan.requests[0].prompt, expected);
  EXPECT_EQ(plan.requests[0].sampling.max_tokens, 64 - 5);  // all that there is room for
}

TEST_F(PlannerTest, NobodyTypesASpecialTokenInAChat) {
  const GenerationPlan plan =
      *planner_.PlanChat(Chat(R"([{"role":"user","content":"<|end|>"}])"), kBase, text_);
  EXPECT_EQ(std::ranges::count(plan.requests[0].prompt, kEndToken), 1);
}

TEST_F(PlannerTest, TheFinalMessageMayBeContinued) {
  ChatRequest request =
      Chat(R"([{"role":"user","content":"hi"},{"role":"assistant","content":"Yo"}])");
  request.chat.continue_final_message = true;
  request.chat.add_generation_prompt = false;
  request.chat.final_content = "Yo";
  const GenerationPlan plan = *planner_.PlanChat(request, kBase, text_);
  std::vector<TokenId> expected = {kUserToken, 'h', 'i', kEndToken, kAssistantToken, 'Y', 'o'};
  EXPECT_EQ(plan.requests[0].prompt, expected);
}

TEST_F(PlannerTest, WithoutATemplateChatsAreRefused) {
  const auto bare = std::make_shared<text::ModelText>(MakeByteTokenizer(), std::nullopt);
  const auto plan = planner_.PlanChat(Chat(R"([{"role":"user","content":"hi"}])"), kBase, bare);
  EXPECT_EQ(plan.error().code, ErrorCode::kUnsupported);
}

}  // namespace
}  // namespace lorry::server
