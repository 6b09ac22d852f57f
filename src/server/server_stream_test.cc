// Streams, hang-ups and many requests at once, over a real socket.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <thread>

#include "server/server.h"
#include "server/testing/test_server.h"

namespace lorry::server {
namespace {

namespace json = boost::json;

// The chunks of a stream that must end with [DONE].
std::vector<json::object> ChunksOf(const std::vector<std::string>& events) {
  std::vector<json::object> chunks;
  if (events.empty() || events.back() != "[DONE]") {
    ADD_FAILURE() << "the stream did not end with [DONE]";
    return chunks;
  }
  for (size_t i = 0; i + 1 < events.size(); ++i) {
    chunks.push_back(json::parse(events[i]).as_object());
  }
  return chunks;
}

// What the chunks of one choice say together.
std::string JoinText(const std::vector<json::object>& chunks, int choice_idx) {
  std::string text;
  for (const json::object& chunk : chunks) {
    for (const json::value& choice : chunk.at("choices").as_array()) {
      if (choice.at("index").as_int64() != choice_idx) continue;
      const json::object& object = choice.as_object();
      const json::value* delta = object.if_contains("delta");
      const json::value* part =
          delta != nullptr ? delta->as_object().if_contains("content") : object.if_contains("text");
      if (part != nullptr) text += std::string_view(part->as_string());
    }
  }
  return text;
}

TEST(ServerStream, ChatChunksComeInOpenAisOrder) {
  TestServer server({.token_time = std::chrono::milliseconds(1), .eos = kEndToken});
  const auto chunks = ChunksOf(server.PostEvents(
      "/v1/chat/completions",
      R"({"model":"sql","messages":[{"role":"user","content":"hé"}],"stream":true,)"
      R"("stream_options":{"include_usage":true}})"));
  ASSERT_GE(chunks.size(), 4u);
  EXPECT_EQ(chunks[0].at("choices").at(0).at("delta"),
            json::parse(R"({"role":"assistant","content":""})"));
  EXPECT_EQ(JoinText(chunks, 0), "hé");
  const json::object& last = chunks[chunks.size() - 2];
  EXPECT_EQ(last.at("choices").at(0).at("finish_reason").as_string(), "stop");
  EXPECT_TRUE(last.at("usage").is_null());
  const json::object& usage = chunks.back();
  EXPECT_TRUE(usage.at("choices").as_array().empty());
  // <|user|>, three bytes, <|end|>, <|assistant|>; answered by the first five.
  EXPECT_EQ(usage.at("usage"),
            json::parse(R"({"prompt_tokens":6,"completion_tokens":5,"total_tokens":11})"));
  for (const json::object& chunk : chunks) {
    EXPECT_EQ(chunk.at("id"), chunks[0].at("id"));
    EXPECT_EQ(chunk.at("model").as_string(), "sql");
  }
}

TEST(ServerStream, ChoicesShareOneStream) {
  TestServer server;
  const auto chunks = ChunksOf(server.PostEvents(
      "/v1/completions",
      R"({"prompt":["ab","cde"],"n":2,"max_tokens":4,"stream":true,"return_token_ids":true})"));
  EXPECT_EQ(JoinText(chunks, 0), "abab");
  EXPECT_EQ(JoinText(chunks, 1), "abab");
  EXPECT_EQ(JoinText(chunks, 2), "cdec");
  EXPECT_EQ(JoinText(chunks, 3), "cdec");
  int num_finished = 0;
  for (const json::object& chunk : chunks) {
    num_finished += chunk.at("choices").at(0).at("finish_reason").is_string();
  }
  EXPECT_EQ(num_finished, 4);
}

TEST(ServerStream, StopStringsAreNeverShown) {
  TestServer server({.token_time = std::chrono::milliseconds(1)});
  const auto chunks = ChunksOf(server.PostEvents(
      "/v1/completions", R"({"prompt":"ab12","max_tokens":50,"stream":true,"stop":"2a"})"));
  EXPECT_EQ(JoinText(chunks, 0), "ab1");
  EXPECT_EQ(chunks.back().at("choices").at(0).at("stop_reason").as_string(), "2a");
}

TEST(ServerStream, AnErrorEndsTheStream) {
  TestServer server({.token_time = std::chrono::milliseconds(1), .fail_at = 3});
  const std::vector<std::string> events =
      server.PostEvents("/v1/completions", R"({"prompt":"ab","max_tokens":9,"stream":true})");
  ASSERT_EQ(events.size(), 4u);
  EXPECT_EQ(json::parse(events.back()).at("error").at("message").as_string(), "The echo broke.");
}

TEST(ServerStream, AnErrorBeforeTheFirstTokenIsAStatus) {
  TestServer server({.fail_at = 0});
  EXPECT_EQ(server.Post("/v1/completions", R"({"prompt":"ab","stream":true})").status, 500);
}

TEST(ServerStream, HangingUpMidStreamCancels) {
  TestServer server({.token_time = std::chrono::milliseconds(2)});
  net::HttpClient client("127.0.0.1", server.port());
  int num_events = 0;
  const auto response =
      client.StreamEvents({.method = "POST",
                           .target = "/v1/completions",
                           .body = R"({"prompt":"ab","max_tokens":60,"stream":true,"n":2})"},
                          [&](std::string_view) { return ++num_events < 5; });
  EXPECT_EQ(response.error().code, ErrorCode::kCancelled);
  client.Close();
  EXPECT_TRUE(Eventually([&] { return server.echo().num_running() == 0; }));
  EXPECT_EQ(server.echo().num_cancelled(), 2);
  EXPECT_THAT(server.Get("/metrics").body, testing::HasSubstr(R"(status="499"} 1)"));
}

TEST(ServerStream, HangingUpBeforeTheAnswerCancels) {
  TestServer server({.token_time = std::chrono::milliseconds(20)});
  net::HttpClient client("127.0.0.1", server.port());
  const auto response = client.Send({.method = "POST",
                                     .target = "/v1/completions",
                                     .body = R"({"prompt":"ab","max_tokens":60})",
                                     .timeout = std::chrono::milliseconds(100)});
  EXPECT_EQ(response.error().code, ErrorCode::kDeadline);
  client.Close();
  EXPECT_TRUE(Eventually([&] { return server.echo().num_running() == 0; }));
  EXPECT_EQ(server.echo().num_cancelled(), 1);
}

TEST(ServerStream, ManyClientsGetTheirOwnAnswers) {
  TestServer server;
  std::vector<std::thread> clients;
  for (int i = 0; i < 8; ++i) {
    clients.emplace_back([&server, i] {
      for (int round = 0; round < 10; ++round) {
        const std::string prompt = fmt::format("<{}.{}>", i, round);
        const auto chunks = ChunksOf(server.PostEvents(
            "/v1/completions",
            fmt::format(R"({{"prompt":"{}","max_tokens":50,"stream":true}})", prompt)));
        std::string expected;
        while (expected.size() < 50) expected += prompt;
        EXPECT_EQ(JoinText(chunks, 0), expected.substr(0, 50));
      }
    });
  }
  for (std::thread& client : clients) client.join();
}

TEST(ServerStream, StoppingTheServerCancelsWhatRuns) {
  auto server =
      std::make_unique<TestServer>(EchoOptions{.token_time = std::chrono::milliseconds(5)});
  std::thread client([port = server->port()] {
    net::HttpClient http("127.0.0.1", port);
    const auto response = http.Send({.method = "POST",
                                     .target = "/v1/completions",
                                     .body = R"({"prompt":"ab","max_tokens":60})"});
    EXPECT_FALSE(response);  // cut off
  });
  ASSERT_TRUE(Eventually([&] { return server->echo().num_running() == 1; }));
  server->server().Stop();
  client.join();
  EXPECT_TRUE(Eventually([&] { return server->echo().num_running() == 0; }));
}

TEST(ServerStream, AdaptersLearnThatAWaitingClientHasGone) {
  for (const char* stream : {"false", "true"}) {
    TestServer server;
    server.adapters().Hold();
    net::HttpClient client("127.0.0.1", server.port());
    const auto response =
        client.Send({.method = "POST",
                     .target = "/v1/completions",
                     .body = fmt::format(R"({{"model":"sql","prompt":"x","stream":{}}})", stream),
                     .timeout = std::chrono::milliseconds(100)});
    EXPECT_FALSE(response);
    client.Close();
    EXPECT_TRUE(
        Eventually([&] { return server.adapters().last_request()->gone.stop_requested(); }));
    server.adapters().AnswerHeld();
    EXPECT_TRUE(Eventually([&] {
      return server.Get("/metrics").body.find(R"(status="499"} 1)") != std::string::npos;
    }));
    EXPECT_TRUE(server.echo().TakeSubmitted().empty());
  }
}

}  // namespace
}  // namespace lorry::server
