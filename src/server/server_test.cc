// Routes, errors and whole answers, over a real socket.
#include "server/server.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "server/testing/test_server.h"

namespace lorry::server {
namespace {

namespace json = boost::json;
using testing::HasSubstr;

json::object ErrorOf(const net::HttpResponse& response) {
  json::error_code error;
  const json::value body = json::parse(response.body, error);
  EXPECT_FALSE(error) << response.body;
  return body.at("error").as_object();
}

std::string TextOf(const json::object& answer, size_t choice = 0) {
  return answer.at("choices").at(choice).at("text").as_string().c_str();
}

TEST(Server, SmallEndpoints) {
  TestServer server;
  EXPECT_EQ(server.Get("/health").status, 200);
  EXPECT_EQ(server.Get("/ready").status, 200);
  EXPECT_EQ(server.Get("/version").body, R"({"version":"1.2.3"})");
  EXPECT_THAT(server.Get("/v1/models").body, HasSubstr(R"("id":"team/fr")"));
  EXPECT_THAT(server.Get("/v1/models/team/fr").body, HasSubstr(R"("parent":"demo")"));
  EXPECT_THAT(server.Get("/v1/models/team%2Ffr").body, HasSubstr(R"("parent":"demo")"));
  EXPECT_EQ(server.Get("/v1/models/nobody").status, 404);
  EXPECT_THAT(
      server.Get("/metrics").body,
      HasSubstr(R"(lorry:http_requests_total{handler="/health",method="GET",status="200"} 1)"));
}

TEST(Server, UnknownPathsAndMethods) {
  TestServer server;
  const net::HttpResponse unknown = server.Get("/v2/models");
  EXPECT_EQ(unknown.status, 404);
  EXPECT_EQ(ErrorOf(unknown).at("message").as_string(),
            "There is nothing at /v2/models; did you mean /v1/models?");
  EXPECT_EQ(ErrorOf(server.Post("/v1/responses", "{}")).at("message").as_string(),
            "There is nothing at /v1/responses. The Responses API is not spoken here. Send chats "
            "to /v1/chat/completions.");
  for (const char* path : {"/v1/models/", "/v1/embeddings", "/embeddings", "/api/chat"}) {
    EXPECT_THAT(server.Get(path).body, HasSubstr("/v1/")) << path;
    EXPECT_EQ(server.Get(path).status, 404) << path;
  }
  const net::HttpResponse wrong = server.Get("/v1/completions");
  EXPECT_EQ(wrong.status, 405);
  EXPECT_EQ(wrong.headers.Find("allow"), "POST, OPTIONS");
  EXPECT_EQ(server.Call({.method = "OPTIONS", .target = "/v1/models"}).status, 204);
}

TEST(Server, RequestIdsComeBack) {
  TestServer server;
  EXPECT_EQ(server.Get("/health", {{"X-Request-Id", "abc-1"}}).headers.Find("x-request-id"),
            "abc-1");
  EXPECT_EQ(server.Get("/health").headers.Find("x-request-id")->size(), 32u);
  const net::HttpResponse bad = server.Get("/health", {{"X-Request-Id", std::string(200, 'x')}});
  EXPECT_EQ(bad.headers.Find("x-request-id")->size(), 32u);
}

TEST(Server, KeysGuardWhatCosts) {
  ServerOptions options;
  options.api_keys = {"secret"};
  TestServer server({}, options);
  for (const char* path : {"/health", "/ready", "/version", "/metrics"}) {
    EXPECT_EQ(server.Get(path).status, 200) << path;
  }
  const net::HttpResponse refused = server.Get("/v1/models");
  EXPECT_EQ(refused.status, 401);
  EXPECT_EQ(refused.headers.Find("www-authenticate"), "Bearer");
  EXPECT_EQ(ErrorOf(refused).at("code").as_string(), "invalid_api_key");
  EXPECT_EQ(server.Post("/tokenize", R"({"prompt":"x"})").status, 401);
  EXPECT_EQ(server.Get("/v1/models", {{"Authorization", "Bearer secret"}}).status, 200);
}

TEST(Server, CompletionCountsTheEnd) {
  TestServer server;
  // The echo repeats the prompt up to its end token.
  const json::object answer = server.PostJson(
      "/v1/completions",
      R"({"model":"sql","prompt":[104,105,256],"max_tokens":9,"return_token_ids":true})");
  EXPECT_EQ(TextOf(answer), "hi");
  EXPECT_EQ(answer.at("model").as_string(), "sql");
  EXPECT_TRUE(answer.at("id").as_string().starts_with("cmpl-"));
  const json::object& choice = answer.at("choices").at(0).as_object();
  EXPECT_EQ(choice.at("finish_reason").as_string(), "stop");
  EXPECT_EQ(choice.at("token_ids"), json::parse("[104,105,256]"));
  EXPECT_EQ(choice.at("prompt_token_ids"), json::parse("[104,105,256]"));
  EXPECT_EQ(answer.at("usage"),
            json::parse(R"({"prompt_tokens":3,"completion_tokens":3,"total_tokens":6})"));
  const std::vector<GenerateRequest> submitted = server.echo().TakeSubmitted();
  ASSERT_EQ(submitted.size(), 1u);
  ASSERT_EQ(submitted[0].adapters.size(), 1u);
  EXPECT_EQ(submitted[0].adapters[0].name, "sql");
  EXPECT_GT(submitted[0].arrival_us, 0);
}

TEST(Server, WhatBefallsAnAdapterHasItsStatus) {
  const std::pair<Error, int> rows[] = {{{ErrorCode::kUnauthenticated, "x", "source"}, 401},
                                        {{ErrorCode::kPermission, "x", "source"}, 403},
                                        {{ErrorCode::kNotFound, "x", "source"}, 404},
                                        {{ErrorCode::kTooLarge, "x", "source"}, 413},
                                        {{ErrorCode::kUnfit, "x", "source"}, 422},
                                        {{ErrorCode::kUnsupported, "x", "source"}, 422},
                                        {{ErrorCode::kDataLoss, "x", "source"}, 424},
                                        {{ErrorCode::kSourceFailed, "x", "source"}, 424},
                                        {{ErrorCode::kResourceExhausted, "x", "source"}, 503},
                                        {{ErrorCode::kUnavailable, "x", "model"}, 503},
                                        {{ErrorCode::kResourceExhausted, "x", "model"}, 429}};
  TestServer server;
  for (const auto& [error, status] : rows) {
    server.adapters().FailSource("hf://open/x", error);
    const net::HttpResponse answer = server.Post(
        "/v1/completions", R"({"prompt":"x","adapter_id":"open/x","api_token":"geheim"})");
    EXPECT_EQ(answer.status, status) << ErrorCodeName(error.code);
    EXPECT_EQ(answer.headers.Find("retry-after").has_value(), status == 429 || status == 503);
    EXPECT_EQ(server.adapters().last_source().token, "geheim");
  }
}

TEST(Server, SumsAreSubmittedWithTheirWeights) {
  TestServer server;
  const json::object answer =
      server.PostJson("/v1/completions", R"({"model":"sql+0.5*team/fr","prompt":"x"})");
  EXPECT_EQ(answer.at("model").as_string(), "sql+0.5*team/fr");
  const std::vector<GenerateRequest> submitted = server.echo().TakeSubmitted();
  ASSERT_EQ(submitted.at(0).adapters.size(), 2u);
  EXPECT_EQ(submitted[0].adapters[1].name, "team/fr");
  EXPECT_EQ(submitted[0].adapters[1].weight, 0.5f);
}

TEST(Server, TheModelsOwnSamplingIsTheDefault) {
  ServerOptions options;
  options.default_sampling.temperature = 0;
  options.default_sampling.top_k = 7;
  TestServer server({}, options);
  server.PostJson("/v1/completions", R"({"prompt":"x"})");
  server.PostJson("/v1/completions", R"({"prompt":"x","temperature":0.5})");
  const std::vector<GenerateRequest> submitted = server.echo().TakeSubmitted();
  ASSERT_EQ(submitted.size(), 2u);
  EXPECT_EQ(submitted[0].sampling.temperature, 0.0f);
  EXPECT_EQ(submitted[0].sampling.top_k, 7);
  EXPECT_EQ(submitted[1].sampling.temperature, 0.5f);
}

TEST(Server, PromptsTimesN) {
  TestServer server;
  const json::object answer = server.PostJson(
      "/v1/completions", R"({"prompt":["ab","xyz"],"n":2,"max_tokens":5,"echo":true})");
  ASSERT_EQ(answer.at("choices").as_array().size(), 4u);
  EXPECT_EQ(TextOf(answer, 0),
            "ababab"
            "a");
  EXPECT_EQ(TextOf(answer, 1), TextOf(answer, 0));
  EXPECT_EQ(TextOf(answer, 2), "xyzxyzxy");
  EXPECT_EQ(answer.at("choices").at(3).at("index").as_int64(), 3);
  EXPECT_EQ(answer.at("usage").at("prompt_tokens").as_int64(), 5);
  EXPECT_EQ(answer.at("usage").at("completion_tokens").as_int64(), 20);
  const std::vector<GenerateRequest> submitted = server.echo().TakeSubmitted();
  ASSERT_EQ(submitted.size(), 2u);
  for (const GenerateRequest& part : submitted) EXPECT_EQ(part.part_of, submitted[0].id);
}

TEST(Server, StopStringsCancelTheSequence) {
  TestServer server({.token_time = std::chrono::milliseconds(1)});
  const json::object answer =
      server.PostJson("/v1/completions", R"({"prompt":"abcd","max_tokens":50,"stop":["da"]})");
  EXPECT_EQ(TextOf(answer), "abc");
  const json::object& choice = answer.at("choices").at(0).as_object();
  EXPECT_EQ(choice.at("finish_reason").as_string(), "stop");
  EXPECT_EQ(choice.at("stop_reason").as_string(), "da");
  EXPECT_EQ(answer.at("usage").at("completion_tokens").as_int64(), 5);
  EXPECT_TRUE(Eventually([&] { return server.echo().num_running() == 0; }));
  EXPECT_EQ(server.echo().num_cancelled(), 1);
}

TEST(Server, ChatWithLogprobs) {
  TestServer server;
  const json::object answer = server.PostJson(
      "/v1/chat/completions",
      R"({"messages":[{"role":"user","content":"A"}],"max_tokens":2,"logprobs":true,"top_logprobs":1})");
  EXPECT_TRUE(answer.at("id").as_string().starts_with("chatcmpl-"));
  const json::object& choice = answer.at("choices").at(0).as_object();
  EXPECT_EQ(choice.at("message").at("content").as_string(), "A");  // <|user|> is not shown
  EXPECT_EQ(choice.at("finish_reason").as_string(), "length");
  const json::value& second = choice.at("logprobs").at("content").at(1);
  EXPECT_EQ(second.at("token").as_string(), "A");
  EXPECT_EQ(second.at("logprob").to_number<double>(), -65);
  EXPECT_EQ(second.at("top_logprobs").at(0).at("token").as_string(), "B");
}

TEST(Server, ScoringAPrompt) {
  TestServer server;
  const json::object answer = server.PostJson(
      "/v1/completions", R"({"prompt":"ab","max_tokens":0,"echo":true,"logprobs":0})");
  EXPECT_EQ(TextOf(answer), "ab");
  EXPECT_EQ(answer.at("choices").at(0).at("logprobs").at("token_logprobs"),
            json::parse("[null,-98]"));
  EXPECT_EQ(answer.at("usage").at("completion_tokens").as_int64(), 0);
}

TEST(Server, Tokenize) {
  TestServer server;
  EXPECT_EQ(
      server.Post("/tokenize", R"({"prompt":"hi<|end|>","return_token_strs":true})").body,
      R"({"count":3,"max_model_len":64,"tokens":[104,105,256],"token_strs":["h","i","<|end|>"]})");
  EXPECT_EQ(server.Post("/tokenize", R"({"messages":[{"role":"user","content":"h"}]})").body,
            R"({"count":4,"max_model_len":64,"tokens":[257,104,256,258],"token_strs":null})");
  EXPECT_EQ(server.Post("/detokenize", R"({"tokens":[104,105,256]})").body,
            R"({"prompt":"hi<|end|>"})");
  EXPECT_EQ(server.Post("/tokenize", R"({"model":"nobody","prompt":"x"})").status, 404);
}

// "sql" brings a token, <|tool|> (259), a template that writes it, and another end.
class OwnTextServer : public testing::Test {
 protected:
  OwnTextServer() {
    AdapterHandle handle;
    handle.text = {tokenizer_, config_, {{1}}};
    handle.vocab_size = kToolToken + 1;
    server_.adapters().SetHandle("sql", handle);
  }
  net::HttpResponse Post(std::string path, std::string body) {
    return server_.Post(path, std::move(body));
  }

  static constexpr TokenId kToolToken = kAssistantToken + 1;
  const std::string tokenizer_ = MakeByteTokenizerJson("<|tool|>");
  const std::string config_ = R"({"tokenizer":{"eos_token":"<|tool|>"},"eos_token_id":[10],)"
                              R"("chat_template":"<|tool|>{{ messages[0].content }}"})";
  TestServer server_{{.eos = kToolToken}};
};

TEST_F(OwnTextServer, ChatsGoThroughItsTemplateAndTokenizer) {
  const json::object answer = server_.PostJson(
      "/v1/chat/completions",
      R"({"model":"sql","messages":[{"role":"user","content":"hi"}],"max_tokens":4,)"
      R"("skip_special_tokens":false,"return_token_ids":true})");
  const std::vector<GenerateRequest> submitted = server_.echo().TakeSubmitted();
  ASSERT_EQ(submitted.size(), 1u);
  EXPECT_EQ(submitted[0].prompt, (std::vector<TokenId>{kToolToken, 'h', 'i'}));
  EXPECT_EQ(submitted[0].eos_ids, (std::vector<TokenId>{10, kToolToken}));
  server_.PostJson("/v1/chat/completions",
                   R"({"messages":[{"role":"user","content":"hi"}],"max_tokens":4})");
  const std::vector<GenerateRequest> base = server_.echo().TakeSubmitted();
  EXPECT_EQ(base[0].prompt.front(), kUserToken);
  EXPECT_TRUE(base[0].eos_ids.empty());
}

TEST_F(OwnTextServer, AnswersAreReadWithItsTokenizer) {
  const json::object answer = server_.PostJson(
      "/v1/completions",
      R"({"model":"sql","prompt":[104,259],"echo":true,"max_tokens":0,"skip_special_tokens":false})");
  EXPECT_EQ(TextOf(answer), "h<|tool|>");
}

TEST_F(OwnTextServer, TokenizeAndDetokenize) {
  EXPECT_EQ(server_.PostJson("/tokenize", R"({"model":"sql","prompt":"a<|tool|>"})").at("tokens"),
            json::parse("[97,259]"));
  EXPECT_EQ(server_.PostJson("/tokenize", R"({"prompt":"<|"})").at("tokens"),
            json::parse("[60,124]"));
  EXPECT_EQ(server_.PostJson("/detokenize", R"({"model":"sql","tokens":[97,259]})").at("prompt"),
            "a<|tool|>");
}

TEST_F(OwnTextServer, IdsAreCheckedAgainstTheModelsVocabulary) {
  const std::string ids = R"("prompt":[259],"stop_token_ids":[259],"max_tokens":1})";
  EXPECT_EQ(Post("/v1/completions", R"({"model":"sql",)" + ids).status, 200);
  const net::HttpResponse refused = Post("/v1/completions", "{" + ids);
  EXPECT_EQ(refused.status, 400);
  EXPECT_EQ(ErrorOf(refused).at("param"), "prompt[0]");
  EXPECT_EQ(
      ErrorOf(Post("/v1/completions", R"({"model":"sql","prompt":"x","logit_bias":{"260":1}})"))
          .at("message"),
      "The keys of 'logit_bias' must be token ids from 0 to 259, not '260'.");
  EXPECT_EQ(ErrorOf(Post("/detokenize", R"({"model":"sql","tokens":[260]})")).at("param"),
            "tokens[0]");
  EXPECT_EQ(Post("/detokenize", R"({"tokens":[259]})").status, 400);
}

TEST_F(OwnTextServer, ATextThatCannotBeUsedIs422AndOthersGoOn) {
  AdapterHandle handle;
  handle.text = {"{}", "", {{2}}};
  server_.adapters().SetHandle("team/fr", handle);
  const net::HttpResponse refused =
      Post("/v1/completions", R"({"model":"team/fr","prompt":"x","max_tokens":1})");
  EXPECT_EQ(refused.status, 422);
  EXPECT_EQ(ErrorOf(refused).at("param"), "model");
  EXPECT_NE(std::string(ErrorOf(refused).at("message").as_string()).find("team/fr"),
            std::string::npos);
  EXPECT_EQ(Post("/v1/completions", R"({"prompt":"x","max_tokens":1})").status, 200);
}

TEST(Server, ErrorsNameTheField) {
  TestServer server;
  const auto post = [&](std::string body) {
    return server.Post("/v1/completions", std::move(body));
  };
  const net::HttpResponse unknown = post(R"({"model":"nobody","prompt":"x"})");
  EXPECT_EQ(unknown.status, 404);
  EXPECT_EQ(ErrorOf(unknown).at("code").as_string(), "model_not_found");
  const net::HttpResponse wrong = post(R"({"prompt":"x","temperature":9})");
  EXPECT_EQ(wrong.status, 400);
  EXPECT_EQ(ErrorOf(wrong).at("param").as_string(), "temperature");
  const net::HttpResponse too_long = post(R"({"prompt":"x","max_tokens":64})");
  EXPECT_EQ(too_long.status, 400);
  EXPECT_EQ(ErrorOf(too_long).at("code").as_string(), "context_length_exceeded");
  EXPECT_EQ(post("{").status, 400);
}

TEST(Server, BodiesBeyondTheLimit) {
  ServerOptions options;
  options.http.max_body_bytes = 1000;
  TestServer server({}, options);
  const net::HttpResponse response = server.Post("/v1/completions", std::string(2000, ' '));
  EXPECT_EQ(response.status, 413);
  EXPECT_EQ(ErrorOf(response).at("code").as_string(), "request_too_large");
  EXPECT_NE(response.body.find("1000 bytes (--max-body)"), std::string::npos) << response.body;
}

TEST(Server, AFullQueueIs429) {
  TestServer server({.token_time = std::chrono::milliseconds(1), .max_requests = 2});
  // Three prompts are three requests to the engine; the third does not fit, and the others are
  // given up.
  const net::HttpResponse response =
      server.Post("/v1/completions", R"({"prompt":["a","b","c"],"max_tokens":60})");
  EXPECT_EQ(response.status, 429);
  EXPECT_EQ(response.headers.Find("retry-after"), "1");
  EXPECT_EQ(ErrorOf(response).at("type").as_string(), "rate_limit_error");
  EXPECT_TRUE(Eventually([&] { return server.echo().num_running() == 0; }));
}

TEST(Server, EngineErrorsBecomeStatuses) {
  TestServer server({.fail_at = 2});
  const net::HttpResponse response =
      server.Post("/v1/completions", R"({"prompt":"a","max_tokens":5,"n":2})");
  EXPECT_EQ(response.status, 500);
  EXPECT_EQ(ErrorOf(response).at("message").as_string(), "The echo broke.");
}

TEST(Server, DrainLetsRunningRequestsFinish) {
  TestServer server({.token_time = std::chrono::milliseconds(5)});
  std::string text;
  std::thread client([&] {
    text = TextOf(server.PostJson("/v1/completions", R"({"prompt":"ab","max_tokens":40})"));
  });
  ASSERT_TRUE(Eventually([&] { return server.echo().num_running() == 1; }));
  EXPECT_TRUE(server.server().Drain(/*limit_us=*/5'000'000));
  client.join();
  EXPECT_EQ(text.size(), 40u);
}

}  // namespace
}  // namespace lorry::server
