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
  EXPECT_EQ(plan.echoes, (std::vector<std::string>{"a", "bc"}));
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
