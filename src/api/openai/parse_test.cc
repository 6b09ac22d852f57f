#include "api/openai/parse.h"

#include <gtest/gtest.h>

#include "api/openai/context_length.h"

namespace lorry::api::openai {
namespace {

ParseLimits Limits() { return {}; }

TEST(Parse, ErrorsSayFieldAndRange) {
  const auto parsed =
      ParseChat(R"({"messages":[{"role":"user","content":"hi"}],"temperature":"hot"})", Limits());
  ASSERT_FALSE(parsed);
  EXPECT_EQ(parsed.error().param, "temperature");
  EXPECT_EQ(parsed.error().message, "'temperature' must be a number from 0 to 2, not 'hot'.");
}

TEST(Parse, TheFirstErrorIsReported) {
  const auto parsed = ParseCompletion(R"({"prompt":[],"temperature":-1,"n":0})", Limits());
  EXPECT_EQ(parsed.error().param, "prompt");
}

TEST(Parse, LongValuesAreCutAtCharactersInErrors) {
  std::string wide;
  for (int i = 0; i < 100; ++i) wide += "漢";
  const auto parsed = ParseCompletion(R"({"prompt":"x","n":")" + wide + "\"}", Limits());
  EXPECT_LT(parsed.error().message.size(), 120u);
  EXPECT_NE(parsed.error().message.find("漢…'"), std::string::npos) << parsed.error().message;
}

TEST(Parse, DepthAndSizeAreLimited) {
  const std::string deep(100000, '[');
  auto parsed = ParseCompletion(R"({"prompt":)" + deep, Limits());
  EXPECT_EQ(parsed.error().message, "The body is nested deeper than 64 levels.");
  ParseLimits small = Limits();
  small.json.max_bytes = 10;
  parsed = ParseCompletion(R"({"prompt":"long enough"})", small);
  EXPECT_EQ(parsed.error().code, ErrorCode::kTooLarge);
}

TEST(Parse, ValuesOfABodyAreLimitedWhereverTheyStand) {
  ParseLimits limits;
  limits.json.max_values = 100;
  std::string values = "0";
  for (int i = 0; i < 100; ++i) values += ",0";
  const auto param = [](const auto& parsed) {
    EXPECT_EQ(parsed.error().code, ErrorCode::kTooLarge);
    return parsed ? "" : parsed.error().param;
  };
  EXPECT_EQ(param(ParseCompletion(R"({"prompt":[)" + values + "]}", limits)), "prompt");
  EXPECT_EQ(param(ParseDetokenize(R"({"tokens":[)" + values + "]}", limits)), "tokens");
  EXPECT_EQ(param(ParseTokenize(R"({"prompt":"x","unknown":[)" + values + "]}", limits)),
            "unknown");
  const std::string call =
      R"({"function":{"name":"f","arguments":"{\"x\":[)" + values.substr(0, 119) + R"(]}"}})";
  const auto chat = [&](const std::string& calls) {
    return ParseChat(R"({"messages":[{"role":"assistant","tool_calls":[)" + calls + "]}]}", limits);
  };
  EXPECT_TRUE(chat(call));
  EXPECT_EQ(param(chat(call + "," + call)), "messages[0].tool_calls[1].function.arguments");
}

TEST(Parse, EveryCutOfABodyIsAnErrorAndNothingWorse) {
  const std::string body =
      R"({"model":"a","messages":[{"role":"user","content":[{"type":"text","text":"é\u00e9"}]}],)"
      R"("tools":[{"type":"function","function":{"name":"f"}}],"logit_bias":{"5":1.5},"stop":["a"]})";
  ASSERT_TRUE(ParseChat(body, Limits()));
  for (size_t i = 0; i < body.size(); ++i) {
    EXPECT_FALSE(ParseChat(std::string_view(body).substr(0, i), Limits())) << i;
  }
}

TEST(ContextLength, DefaultsFitTheRoom) {
  EXPECT_EQ(*ResolveMaxTokens({10, std::nullopt, std::nullopt, 64}), 54);
  EXPECT_EQ(*ResolveMaxTokens({10, std::nullopt, 16, 64}), 16);
  EXPECT_EQ(*ResolveMaxTokens({60, std::nullopt, 16, 64}), 4);
  EXPECT_EQ(*ResolveMaxTokens({10, 54, 16, 64}), 54);
  EXPECT_EQ(*ResolveMaxTokens({64, 0, 16, 64}), 0);
}

TEST(ContextLength, SaysWhatDoesNotFit) {
  const auto asked = ResolveMaxTokens({10, 55, 16, 64, "messages"});
  EXPECT_EQ(asked.error().code, ErrorCode::kTooLarge);
  EXPECT_EQ(asked.error().param, "messages");
  EXPECT_EQ(
      asked.error().message,
      "This model's maximum context length is 64 tokens. However, you requested 65 tokens (10 "
      "in the messages, 55 in the completion). Please reduce the length of the messages or "
      "completion.");
  const auto full = ResolveMaxTokens({64, std::nullopt, 16, 64, "prompt"});
  EXPECT_EQ(
      full.error().message,
      "This model's maximum context length is 64 tokens. However, your prompt resulted in 64 "
      "tokens, which leaves no room for the completion. Please reduce the length of the prompt.");
  EXPECT_EQ(ResolveMaxTokens({0, 1, 16, 64, "prompt"}).error().code, ErrorCode::kInvalidArgument);
}

}  // namespace
}  // namespace lorry::api::openai
