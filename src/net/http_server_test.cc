// Requests and answers over loopback: what well-behaved clients do.
#include "net/http_server.h"

#include <gmock/gmock.h>

#include "net/http_test_server.h"

namespace lorry::net {
namespace {

using testing::EndsWith;
using testing::HasSubstr;
using testing::Not;
using testing::StartsWith;

TEST(HttpServerTest, AnswersOverAndOverOnOneConnection) {
  TestServer test;
  HttpClient client = test.Client();
  for (int i = 0; i < 100; ++i) {
    const auto response = client.Send({.target = "/hello"});
    ASSERT_TRUE(response) << response.error().message;
    ASSERT_EQ(response->status, 200);
    ASSERT_EQ(response->body, "hello");
    ASSERT_EQ(response->headers.Find("Content-Type"), "text/plain");
  }
  EXPECT_TRUE(client.connected());
  EXPECT_EQ(test.server().num_connections(), 1);
}

TEST(HttpServerTest, EchoesBodiesOfManySizes) {
  TestServer test;
  HttpClient client = test.Client();
  for (const size_t num_bytes : {0, 1, 16383, 16384, 16385, 3'000'000}) {
    std::string body(num_bytes, 'x');
    for (size_t i = 0; i < num_bytes; ++i) body[i] = static_cast<char>(i * 7);
    const auto response =
        client.Send({.method = "POST", .target = "/echo", .headers = {}, .body = body});
    ASSERT_TRUE(response) << response.error().message;
    EXPECT_EQ(response->body, body);
    EXPECT_EQ(response->headers.Find("X-Method"), "POST");
  }
}

TEST(HttpServerTest, DecodesPathAndKeepsQuery) {
  TestServer test;
  HttpClient client = test.Client();
  EXPECT_EQ(client.Send({.target = "/query?a=%20b&c"})->body, "a=%20b&c");
  EXPECT_EQ(client.Send({.target = "/qu%65ry?x"})->body, "x");
  EXPECT_EQ(client.Send({.target = "http://other.example/query?y"})->body, "y");
  EXPECT_EQ(client.Send({.target = "/a%2Fb"})->body, "no /a/b");
}

TEST(HttpServerTest, ReadsChunkedBodies) {
  TestServer test;
  RawClient client(test.port());
  client.Send("POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n4;ext=1\r\nab");
  client.Send("cd\r\n3\r\nefg\r\n0\r\nTrailer: t\r\n\r\n");
  EXPECT_THAT(client.ReadUntil("abcdefg"), EndsWith("abcdefg"));
}

TEST(HttpServerTest, ServesPipelinedRequestsInOrder) {
  TestServer test;
  RawClient client(test.port());
  std::string requests;
  for (int i = 0; i < 50; ++i) {
    requests += "GET /query?" + std::to_string(i) + "! HTTP/1.1\r\nHost: x\r\n\r\n";
  }
  client.Send(requests);
  client.ShutdownSend();  // what was asked before is answered nevertheless
  const std::string answers = client.ReadAll();
  size_t at = 0;
  for (int i = 0; i < 50; ++i) {
    at = answers.find("\r\n\r\n" + std::to_string(i) + "!", at);
    ASSERT_NE(at, std::string::npos) << "answer " << i << " in " << answers;
  }
}

TEST(HttpServerTest, PipelinedRequestWaitsForTheOneBefore) {
  TestServer test;
  RawClient client(test.port());
  client.Send("GET /hold HTTP/1.1\r\nHost: x\r\n\r\nGET /hello HTTP/1.1\r\nHost: x\r\n\r\n");
  auto writer = test.TakeHeld();
  ASSERT_TRUE(writer);
  EXPECT_EQ(client.ReadUntil("hello", 50ms), "");
  EXPECT_EQ(test.num_requests, 1);
  writer->Send({200, {}, "held"});
  const std::string answers = client.ReadUntil("hello");
  EXPECT_LT(answers.find("held"), answers.find("hello"));
  EXPECT_EQ(test.num_closed, 0);
}

TEST(HttpServerTest, ConnectionCloseIsHonoured) {
  TestServer test;
  RawClient client(test.port());
  client.Send("GET /hello HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
  const std::string answer = client.ReadAll();
  EXPECT_THAT(answer, HasSubstr("Connection: close\r\n"));
  EXPECT_THAT(answer, EndsWith("\r\n\r\nhello"));
  EXPECT_TRUE(client.closed_by_server());
}

TEST(HttpServerTest, KeepAliveCanBeTurnedOff) {
  TestServer test({.keep_alive = false});
  HttpClient client = test.Client();
  EXPECT_EQ(client.Send({.target = "/hello"})->headers.Find("connection"), "close");
  EXPECT_FALSE(client.connected());
}

TEST(HttpServerTest, SpeaksHttp10) {
  TestServer test;
  RawClient closing(test.port());
  closing.Send("GET /hello HTTP/1.0\r\n\r\n");
  EXPECT_THAT(closing.ReadAll(), EndsWith("\r\n\r\nhello"));
  EXPECT_TRUE(closing.closed_by_server());

  RawClient kept(test.port());
  kept.Send("GET /hello HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
  EXPECT_THAT(kept.ReadUntil("hello"), HasSubstr("Connection: keep-alive\r\n"));
  kept.Send(
      "GET /stream/3 HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");  // ends with the connection
  const std::string stream = kept.ReadAll();
  EXPECT_THAT(stream, Not(HasSubstr("chunked")));
  EXPECT_THAT(stream, EndsWith("\r\n\r\ndata: 0\n\ndata: 1\n\ndata: 2\n\n"));
}

TEST(HttpServerTest, HeadHasTheHeadOnly) {
  TestServer test;
  RawClient client(test.port());
  client.Send("HEAD /hello HTTP/1.1\r\nHost: x\r\n\r\nHEAD /stream/3 HTTP/1.1\r\nHost: x\r\n\r\n");
  const std::string first = client.ReadUntil("\r\n\r\n");
  EXPECT_THAT(first, HasSubstr("Content-Length: 5\r\n"));
  EXPECT_THAT(first, Not(HasSubstr("hello")));
  client.Send("GET /hello HTTP/1.1\r\nHost: x\r\n\r\n");
  const std::string rest = first + client.ReadUntil("hello");
  EXPECT_THAT(rest, Not(HasSubstr("data:")));
  EXPECT_THAT(rest, EndsWith("\r\n\r\nhello"));
}

TEST(HttpServerTest, Expect100Continue) {
  TestServer test({.max_body_bytes = 10});
  RawClient client(test.port());
  client.Send(
      "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\n");
  EXPECT_EQ(client.ReadUntil("\r\n\r\n"), "HTTP/1.1 100 Continue\r\n\r\n");
  client.Send("body");
  EXPECT_THAT(client.ReadUntil("body"), StartsWith("HTTP/1.1 200 OK\r\n"));
  client.Send(
      "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 11\r\nExpect: 100-continue\r\n\r\n");
  EXPECT_THAT(client.ReadAll(), StartsWith("HTTP/1.1 413 "));
}

TEST(HttpServerTest, UnansweredRequestsGetA500) {
  TestServer test;
  HttpClient client = test.Client();
  EXPECT_EQ(client.Send({.target = "/drop"})->status, 500);
  EXPECT_EQ(client.Send({.target = "/throw"})->status, 500);
  EXPECT_EQ(client.Send({.target = "/hello"})->status, 200);
}

TEST(HttpServerTest, AnswerCannotBreakTheHead) {
  HttpServer server(
      {},
      [](HttpRequest, std::shared_ptr<ResponseWriter> writer) {
        writer->Send({200,
                      {{"X-Bad", "a\r\nInjected: 1"},
                       {"X Bad", "1"},
                       {"X-Good", "1"},
                       {"Content-Length", "7"}},
                      "x"});
        writer->Send({200, {}, "twice"});
      },
      [](const HttpRefusal& refusal) { return HttpResponse{refusal.status, {}, ""}; });
  HttpClient client("127.0.0.1", server.Start().value());
  const auto response = client.Send({});
  EXPECT_EQ(response->headers.Find("Injected"), std::nullopt);
  EXPECT_EQ(response->headers.Find("X Bad"), std::nullopt);
  EXPECT_EQ(response->headers.Find("X-Good"), "1");
  EXPECT_EQ(response->body, "x");
  EXPECT_EQ(client.Send({})->body, "x");
}

TEST(HttpServerTest, PortInUseSaysWhatToDo) {
  TestServer test;
  HttpServer second({.port = test.port()}, nullptr, nullptr);
  const Result<int> port = second.Start();
  ASSERT_FALSE(port);
  EXPECT_EQ(port.error().code, ErrorCode::kConflict);
  EXPECT_THAT(port.error().message, HasSubstr(std::to_string(test.port())));
  EXPECT_THAT(port.error().message, HasSubstr("choose another port"));
}

TEST(HttpServerTest, UnknownHostIsAnError) {
  for (const char* host : {"203.0.113.1", "no such host", "300.1.2.3"}) {
    HttpServer server({.host = host}, nullptr, nullptr);
    const Result<int> port = server.Start();
    ASSERT_FALSE(port) << host;
    EXPECT_EQ(port.error().code, ErrorCode::kInvalidArgument);
    EXPECT_THAT(port.error().message, HasSubstr(host));
  }
}

TEST(HttpServerTest, ListensOnAllAddressesOfAName) {
  TestServer test({.host = "localhost"});
  EXPECT_EQ(HttpClient("localhost", test.port()).Send({.target = "/hello"})->body, "hello");
  EXPECT_EQ(test.Client().Send({.target = "/hello"})->body, "hello");
}

TEST(HttpServerTest, FiveHundredConnectionsAtOnce) {
  TestServer test({.num_io_threads = 2});
  std::vector<std::unique_ptr<RawClient>> clients;
  for (int i = 0; i < 500; ++i) clients.push_back(std::make_unique<RawClient>(test.port()));
  for (int round = 0; round < 3; ++round) {
    for (auto& client : clients)
      ASSERT_TRUE(client->Send("GET /hello HTTP/1.1\r\nHost: x\r\n\r\n"));
    for (auto& client : clients) ASSERT_THAT(client->ReadUntil("hello"), EndsWith("\r\n\r\nhello"));
  }
  EXPECT_EQ(test.server().num_connections(), 500);
  clients.clear();
  EXPECT_TRUE(Eventually([&] { return test.server().num_connections() == 0; }));
}

}  // namespace
}  // namespace lorry::net
