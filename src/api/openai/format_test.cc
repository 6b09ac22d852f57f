#include "api/openai/format.h"

#include <gtest/gtest.h>

namespace lorry::api::openai {
namespace {

const AnswerHead kCompletionHead = {Endpoint::kCompletion, "cmpl-1", "demo", 1700000000};
const AnswerHead kChatHead = {Endpoint::kChat, "chatcmpl-1", "sql", 1700000000};

std::vector<LogprobRow> TwoRows() {
  LogprobRow first;
  first.token = {"Hi", -0.5f};
  first.has_logprob = false;
  LogprobRow second;
  second.token = {" you", -1.25f};
  second.top = {{" me", -0.5f}, {" us", -0.75f}};
  second.text_offset = 2;
  return {first, second};
}

TEST(Format, CompletionAnswer) {
  const std::vector<TokenId> prompt = {1, 2};
  const std::vector<TokenId> tokens = {3};
  Choice choice;
  choice.text = "a\nb";
  choice.finish = FinishReason::kStop;
  choice.stop_reason = std::string("END");
  choice.prompt_token_ids = &prompt;
  choice.token_ids = &tokens;
  EXPECT_EQ(
      FormatAnswer(kCompletionHead, std::span(&choice, 1), {2, 1}),
      R"({"id":"cmpl-1","object":"text_completion","created":1700000000,"model":"demo","choices":[)"
      R"({"index":0,"text":"a\nb","logprobs":null,"finish_reason":"stop","stop_reason":"END",)"
      R"("prompt_token_ids":[1,2],"token_ids":[3]}],)"
      R"("usage":{"prompt_tokens":2,"completion_tokens":1,"total_tokens":3}})");
}

TEST(Format, ChatAnswer) {
  Choice choices[2];
  choices[0].text = "yes";
  choices[0].finish = FinishReason::kLength;
  choices[1].index = 1;
  choices[1].finish = FinishReason::kStop;
  choices[1].stop_reason = TokenId{7};
  EXPECT_EQ(
      FormatAnswer(kChatHead, choices, {5, 4}),
      R"({"id":"chatcmpl-1","object":"chat.completion","created":1700000000,"model":"sql","choices":[)"
      R"({"index":0,"message":{"role":"assistant","content":"yes","refusal":null},"logprobs":null,)"
      R"("finish_reason":"length","stop_reason":null},)"
      R"({"index":1,"message":{"role":"assistant","content":"","refusal":null},"logprobs":null,)"
      R"("finish_reason":"stop","stop_reason":7}],)"
      R"("usage":{"prompt_tokens":5,"completion_tokens":4,"total_tokens":9}})");
}

TEST(Format, ChatChunks) {
  const ChunkWriter writer(kChatHead, /*with_usage=*/true);
  const std::string prefix =
      R"({"id":"chatcmpl-1","object":"chat.completion.chunk","created":1700000000,"model":"sql","choices":)";
  std::string out;
  writer.AppendRole(out, 1);
  EXPECT_EQ(out, prefix +
                     R"([{"index":1,"delta":{"role":"assistant","content":""},"logprobs":null,)"
                     R"("finish_reason":null}],"usage":null})");
  Choice choice;
  choice.text = "é";
  out.clear();
  writer.AppendChoice(out, choice);
  EXPECT_EQ(out, prefix + R"([{"index":0,"delta":{"content":"é"},"logprobs":null,)"
                          R"("finish_reason":null,"stop_reason":null}],"usage":null})");
  choice.text = "";
  choice.finish = FinishReason::kStop;
  out.clear();
  writer.AppendChoice(out, choice);
  EXPECT_EQ(out, prefix + R"([{"index":0,"delta":{},"logprobs":null,)"
                          R"("finish_reason":"stop","stop_reason":null}],"usage":null})");
  out.clear();
  writer.AppendUsage(out, {3, 4});
  EXPECT_EQ(out,
            prefix + R"([],"usage":{"prompt_tokens":3,"completion_tokens":4,"total_tokens":7}})");
}

TEST(Format, CompletionChunkWithoutUsage) {
  const ChunkWriter writer(kCompletionHead, /*with_usage=*/false);
  Choice choice;
  choice.text = "x";
  std::string out;
  writer.AppendChoice(out, choice);
  EXPECT_EQ(
      out,
      R"({"id":"cmpl-1","object":"text_completion","created":1700000000,"model":"demo","choices":[)"
      R"({"index":0,"text":"x","logprobs":null,"finish_reason":null,"stop_reason":null}]})");
}

TEST(Format, CompletionLogprobs) {
  std::string out;
  AppendCompletionLogprobs(out, TwoRows());
  EXPECT_EQ(out, R"({"tokens":["Hi"," you"],"token_logprobs":[null,-1.25],)"
                 R"("top_logprobs":[null,{" me":-0.5," us":-0.75," you":-1.25}],)"
                 R"("text_offset":[0,2]})");
}

TEST(Format, TokensThatReadAlikeAreOneKey) {
  LogprobRow row;
  row.token = {"a", -1.0f};
  row.top = {{"b", -0.5f}, {"a", -1.0f}, {"b", -2.0f}};
  std::string out;
  AppendCompletionLogprobs(out, std::span(&row, 1));
  EXPECT_NE(out.find(R"("top_logprobs":[{"b":-0.5,"a":-1}])"), std::string::npos) << out;
}

// The keys of the one object of top_logprobs in what AppendCompletionLogprobs wrote, in their
// order.
std::string TopMapOf(const LogprobRow& row) {
  std::string out;
  AppendCompletionLogprobs(out, std::span(&row, 1));
  const size_t begin = out.find("[{") + 1;
  return out.substr(begin, out.find("}]") + 1 - begin);
}

TEST(Format, PartsOfCharactersAreOneKeyAndTheLikeliestStays) {
  LogprobRow row;
  row.token = {"\xE6", -0.25f};
  row.top = {{"\xE6", -0.25f}, {"\x80", -1.0f}, {"a", -1.5f}, {"\xF0", -2.0f}};
  EXPECT_EQ(TopMapOf(row), "{\"\uFFFD\":-0.25,\"a\":-1.5}");

  // A token that is the replacement character, and the chosen one, which comes last but is
  // likelier.
  row.token = {"\xC3", -0.5f};
  row.top = {{"\uFFFD", -3.0f}, {"b", -4.0f}};
  EXPECT_EQ(TopMapOf(row), "{\"\uFFFD\":-0.5,\"b\":-4}");

  // Whole characters around a part, and one part after another.
  row.token = {"x\xC3", -1.0f};
  row.top = {{"x\xE6", -0.75f}, {"x", -2.0f}, {"\xC3\xC3", -2.5f}, {"\xE6\xE6", -2.75f}};
  EXPECT_EQ(TopMapOf(row), "{\"x\uFFFD\":-0.75,\"x\":-2,\"\uFFFD\uFFFD\":-2.5}");
}

TEST(Format, ChatLogprobs) {
  LogprobRow row;
  row.token = {"\xC3", -0.5f};
  row.top = {{"A", -0.25f}};
  std::string out;
  AppendChatLogprobs(out, std::span(&row, 1));
  EXPECT_EQ(out,
            "{\"content\":[{\"token\":\"\uFFFD\",\"logprob\":-0.5,\"bytes\":[195],"
            "\"top_logprobs\":[{\"token\":\"A\",\"logprob\":-0.25,\"bytes\":[65]}]}],"
            "\"refusal\":null}");
}

TEST(Format, Models) {
  AdapterCard sql;
  sql.name = "team/sql";
  sql.root = "/adapters/sql";
  const ModelDirectory directory({"demo", "alias"}, "/models/demo", {sql}, 512, 9);
  EXPECT_EQ(
      FormatModels(directory),
      R"({"object":"list","data":[{"id":"demo","object":"model","created":9,"owned_by":"lorry",)"
      R"("root":"/models/demo","parent":null,"max_model_len":512},)"
      R"({"id":"alias","object":"model","created":9,"owned_by":"lorry",)"
      R"("root":"/models/demo","parent":null,"max_model_len":512},)"
      R"({"id":"team/sql","object":"model","created":9,"owned_by":"lorry",)"
      R"("root":"/adapters/sql","parent":"demo","max_model_len":512}]})");
  EXPECT_NE(FormatModel(directory, "team/sql")->find(R"("id":"team/sql")"), std::string::npos);
  EXPECT_NE(FormatModel(directory, "demo:team/sql")->find(R"("id":"team/sql")"), std::string::npos);
  EXPECT_NE(FormatModel(directory, "alias")->find(R"("id":"alias")"), std::string::npos);
  EXPECT_EQ(*FormatModel(directory, "demo:0.5*team/sql"),
            R"({"id":"demo:0.5*team/sql","object":"model","created":9,"owned_by":"lorry",)"
            R"("root":"/models/demo","parent":"demo","max_model_len":512})");
  EXPECT_EQ(FormatModel(directory, "team/sql+nobody").error().code, ErrorCode::kNotFound);
  EXPECT_EQ(FormatModel(directory, "nobody").error().code, ErrorCode::kNotFound);
  EXPECT_EQ(FormatModel(directory, "").error().param, "model");
}

TEST(Format, Tokenize) {
  const std::vector<TokenId> ids = {5, 6};
  const std::vector<std::string_view> strings = {"a", "\""};
  EXPECT_EQ(FormatTokenize(ids, 64, nullptr),
            R"({"count":2,"max_model_len":64,"tokens":[5,6],"token_strs":null})");
  EXPECT_EQ(FormatTokenize(ids, 64, &strings),
            R"({"count":2,"max_model_len":64,"tokens":[5,6],"token_strs":["a","\""]})");
  EXPECT_EQ(FormatDetokenize("x"), R"({"prompt":"x"})");
  EXPECT_EQ(FormatVersion("1.2.3"), R"({"version":"1.2.3"})");
}

}  // namespace
}  // namespace lorry::api::openai
