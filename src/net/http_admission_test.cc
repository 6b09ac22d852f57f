// What the header decides, and what clients that have shown nothing may take.
#include <gmock/gmock.h>

#include "net/http_test_server.h"

namespace lorry::net {
namespace {

using testing::EndsWith;
using testing::HasSubstr;
using testing::Not;
using testing::StartsWith;

// Whoever writes "X-Key: good" is admitted; /open needs no key and admits nobody.
HttpVerdict JudgeByKey(const HttpRequest& head, bool) {
  if (head.path == "/open" || head.path == "/hello") return {.admits = false, .keeps_body = false};
  if (head.headers.Find("X-Key") == "good") return {};
  return {.refusal = HttpResponse{401, {}, "no key"}, .admits = false};
}

std::string Post(std::string_view path, std::string_view more, std::string_view body = "") {
  return "POST " + std::string(path) + " HTTP/1.1\r\nHost: x\r\n" + std::string(more) + "\r\n" +
         std::string(body);
}

constexpr std::string_view kHello = "GET /hello HTTP/1.1\r\nHost: x\r\n\r\n";

TEST(HttpAdmissionTest, ABadKeyIsAnsweredBeforeTheBody) {
  TestServer test({}, JudgeByKey);
  for (const char* length : {"Content-Length: 30000000\r\n", "Transfer-Encoding: chunked\r\n"}) {
    RawClient client(test.port());
    client.Send(Post("/echo", length));
    const std::string answer = client.ReadAll();
    EXPECT_THAT(answer, StartsWith("HTTP/1.1 401 "));
    EXPECT_THAT(answer, HasSubstr("Connection: close\r\n"));
    EXPECT_TRUE(client.closed_by_server());
  }
  EXPECT_EQ(test.num_requests, 0);
}

TEST(HttpAdmissionTest, TheAnswerOutlivesTheBodyThatIsStillSent) {
  TestServer test({}, JudgeByKey);
  RawClient client(test.port());
  client.Send(Post("/echo", "Content-Length: 8000000\r\n"));
  client.Send(std::string(8'000'000, 'x'));
  EXPECT_THAT(client.ReadAll(), StartsWith("HTTP/1.1 401 "));
}

TEST(HttpAdmissionTest, ARefusalWithoutABodyKeepsTheConnection) {
  TestServer test({}, JudgeByKey);
  RawClient client(test.port());
  client.Send("GET /secret HTTP/1.1\r\nHost: x\r\n\r\n");
  EXPECT_THAT(client.ReadUntil("no key"), StartsWith("HTTP/1.1 401 "));
  client.Send(kHello);
  EXPECT_THAT(client.ReadUntil("hello"), EndsWith("\r\n\r\nhello"));
  client.Send("HEAD /secret HTTP/1.1\r\nHost: x\r\n\r\n");
  const std::string head = client.ReadUntil("\r\n\r\n");
  EXPECT_THAT(head, HasSubstr("Content-Length: 6\r\n"));
  client.Send(kHello);
  EXPECT_THAT(client.ReadUntil("hello"), StartsWith("HTTP/1.1 200 ")) << "no body of the HEAD";
}

TEST(HttpAdmissionTest, NewcomersDoNotPipeline) {
  TestServer test({}, JudgeByKey);
  RawClient client(test.port());
  std::string requests;
  for (int i = 0; i < 10; ++i) requests += kHello;
  client.Send(requests);
  client.ReadAll();
  EXPECT_TRUE(client.closed_by_server());
  EXPECT_EQ(test.num_requests, 1);
  RawClient known(test.port());
  known.Send(Post("/echo", "X-Key: good\r\nContent-Length: 1\r\n", "a") + requests);
  std::string answers = known.ReadUntil("hello");
  while (test.num_requests < 12 && !known.closed_by_server()) {
    answers += known.ReadUntil("hello", 1000ms);
  }
  EXPECT_EQ(test.num_requests, 12);
}

TEST(HttpAdmissionTest, Expect100ContinueIsForWhoIsLetIn) {
  TestServer test({}, JudgeByKey);
  RawClient refused(test.port());
  refused.Send(Post("/echo", "Content-Length: 4\r\nExpect: 100-continue\r\n"));
  EXPECT_THAT(refused.ReadAll(), StartsWith("HTTP/1.1 401 "));
  RawClient taken(test.port());
  taken.Send(Post("/echo", "Content-Length: 4\r\nExpect: 100-continue\r\nX-Key: good\r\n"));
  EXPECT_EQ(taken.ReadUntil("\r\n\r\n"), "HTTP/1.1 100 Continue\r\n\r\n");
  taken.Send("body");
  EXPECT_THAT(taken.ReadUntil("body"), EndsWith("\r\n\r\nbody"));
}

TEST(HttpAdmissionTest, ATrailerIsNoHeader) {
  TestServer test({}, [](const HttpRequest& head, bool has_body) {
    EXPECT_TRUE(has_body);
    return JudgeByKey(head, has_body);
  });
  RawClient client(test.port());
  client.Send(
      Post("/echo", "Transfer-Encoding: chunked\r\n", "1\r\na\r\n0\r\nX-Key: good\r\n\r\n"));
  EXPECT_THAT(client.ReadAll(), StartsWith("HTTP/1.1 401 "));
  RawClient good(test.port());
  good.Send(Post("/echo", "Transfer-Encoding: chunked\r\nX-Key: good\r\n",
                 "1\r\na\r\n0\r\nX-Method: forged\r\n\r\n"));
  EXPECT_THAT(good.ReadUntil("\r\n\r\na"), Not(HasSubstr("forged")));
}

TEST(HttpAdmissionTest, ABodyThatIsNotKeptIsReadOver) {
  TestServer test({.max_body_bytes = 1 << 20}, JudgeByKey);
  RawClient client(test.port());
  client.Send(Post("/hello", "Content-Length: 500000\r\n", std::string(500'000, 'x')));
  EXPECT_THAT(client.ReadUntil("hello"), EndsWith("\r\n\r\nhello"));
  client.Send(kHello);
  EXPECT_THAT(client.ReadUntil("hello"), StartsWith("HTTP/1.1 200 "));
}

TEST(HttpAdmissionTest, AVerdictMayNarrowTheLimit) {
  TestServer test({}, [](const HttpRequest&, bool) { return HttpVerdict{.max_body_bytes = 10}; });
  RawClient whole(test.port());
  whole.Send(Post("/echo", "Content-Length: 11\r\n"));
  EXPECT_THAT(whole.ReadAll(), StartsWith("HTTP/1.1 413 "));
  RawClient chunked(test.port());
  chunked.Send(Post("/echo", "Transfer-Encoding: chunked\r\n", "a\r\n0123456789\r\n1\r\nx\r\n"));
  EXPECT_THAT(chunked.ReadAll(), StartsWith("HTTP/1.1 413 "));
}

TEST(HttpAdmissionTest, ManyFieldsAre431) {
  TestServer test;
  RawClient client(test.port());
  std::string fields;
  for (int i = 0; i < 300; ++i) fields += "a:b\r\n";
  client.Send(Post("/echo", fields));
  EXPECT_THAT(client.ReadAll(), StartsWith("HTTP/1.1 431 "));
}

// Each field in a packet of its own: the limit is on their sum.
TEST(HttpAdmissionTest, AHeaderInPiecesHasTheSameLimit) {
  TestServer test({.max_header_bytes = 4096});
  RawClient client(test.port());
  client.Send("GET /hello HTTP/1.1\r\n");
  for (int i = 0; i < 3000 && client.Send("X-Field: value\r\n"); ++i) {
    if (i % 16 == 0) std::this_thread::sleep_for(1ms);
  }
  EXPECT_THAT(client.ReadAll(), StartsWith("HTTP/1.1 431 "));
}

TEST(HttpAdmissionTest, TheOldestUnfinishedHeaderGivesWay) {
  TestServer test({.max_unfinished_header_bytes = 64 << 10});
  std::vector<std::unique_ptr<RawClient>> clients;
  for (int i = 0; i < 12; ++i) {
    clients.push_back(std::make_unique<RawClient>(test.port()));
    clients.back()->Send("GET /hello HTTP/1.1\r\nHost: x\r\nX: " + std::string(10'000, 'x'));
    std::this_thread::sleep_for(10ms);
  }
  EXPECT_THAT(clients.front()->ReadAll(), StartsWith("HTTP/1.1 503 "));
  clients.back()->Send("\r\n\r\n");
  EXPECT_THAT(clients.back()->ReadUntil("hello"), EndsWith("hello"));
}

TEST(HttpAdmissionTest, TheOldestUnfinishedBodyGivesWayAndALoneOnePasses) {
  TestServer test({.max_unfinished_body_bytes = 256 << 10});
  RawClient lone(test.port());
  lone.Send(Post("/echo", "Content-Length: 1000000\r\n", std::string(1'000'000, 'x')));
  EXPECT_THAT(lone.ReadUntil("\r\n\r\n"), StartsWith("HTTP/1.1 200 "));
  std::vector<std::unique_ptr<RawClient>> clients;
  for (int i = 0; i < 6; ++i) {
    clients.push_back(std::make_unique<RawClient>(test.port()));
    clients.back()->Send(Post("/echo", "Content-Length: 100000\r\n", std::string(90'000, 'x')));
    std::this_thread::sleep_for(10ms);
  }
  const std::string refused = clients.front()->ReadAll();
  EXPECT_THAT(refused, StartsWith("HTTP/1.1 503 "));
  EXPECT_THAT(refused, HasSubstr("the oldest"));
  clients.back()->Send(std::string(10'000, 'y'));
  EXPECT_THAT(clients.back()->ReadUntil("y", 2000ms), StartsWith("HTTP/1.1 200 "));
}

TEST(HttpAdmissionTest, NewcomersTakeOnlyEachOthersPlaces) {
  TestServer test({.max_connections = 3, .max_newcomers = 4}, JudgeByKey);
  RawClient known(test.port());
  known.Send(Post("/echo", "X-Key: good\r\nContent-Length: 2\r\n", "hi"));
  ASSERT_THAT(known.ReadUntil("hi"), EndsWith("hi"));
  std::vector<std::unique_ptr<RawClient>> newcomers;
  for (int i = 0; i < 40; ++i) {
    newcomers.push_back(std::make_unique<RawClient>(test.port()));
    if (i % 2 == 0) newcomers.back()->Send("POST /echo HTTP/1.1\r\n");
    if (i % 3 == 0) newcomers.back()->Send(kHello);
  }
  EXPECT_TRUE(Eventually([&] { return test.server().num_connections() <= 5; }));
  known.Send(Post("/echo", "X-Key: good\r\nContent-Length: 3\r\n", "yes"));
  EXPECT_THAT(known.ReadUntil("yes"), EndsWith("yes"));
  RawClient late(test.port());
  late.Send(Post("/echo", "X-Key: good\r\nContent-Length: 4\r\n", "late"));
  EXPECT_THAT(late.ReadUntil("late"), EndsWith("late"));
}

TEST(HttpAdmissionTest, AnswersThatNewcomersDoNotReadAreBounded) {
  TestServer test({.max_unread_newcomer_bytes = 1 << 20},
                  [](const HttpRequest&, bool) { return HttpVerdict{.admits = false}; });
  std::vector<std::unique_ptr<RawClient>> clients;
  for (int i = 0; i < 6; ++i) {
    clients.push_back(std::make_unique<RawClient>(test.port(), /*receive_buffer_bytes=*/4096));
    clients.back()->Send("GET /hold HTTP/1.1\r\nHost: x\r\n\r\n");
    auto writer = test.TakeHeld();
    ASSERT_TRUE(writer);
    writer->Send({200, {}, std::string(8 << 20, 'x')});
  }
  EXPECT_TRUE(Eventually([&] { return test.server().num_connections() == 1; }));
}

// ---- Closing halves ----

TEST(HttpHalfCloseTest, AWholeRequestGetsItsAnswer) {
  TestServer test;
  RawClient client(test.port());
  client.Send("GET /hold HTTP/1.1\r\nHost: x\r\n\r\n");
  client.ShutdownSend();
  auto writer = test.TakeHeld();
  ASSERT_TRUE(writer);
  std::this_thread::sleep_for(50ms);
  EXPECT_FALSE(writer->closed());
  writer->Send({200, {}, "late"});
  EXPECT_THAT(client.ReadAll(), EndsWith("\r\n\r\nlate"));
  EXPECT_TRUE(client.closed_by_server());
  EXPECT_EQ(test.num_closed, 0);
}

TEST(HttpHalfCloseTest, SoDoesAStream) {
  for (const char* version : {"1.0", "1.1"}) {
    TestServer test;
    RawClient client(test.port());
    client.Send("GET /stream/300 HTTP/" + std::string(version) + "\r\nHost: x\r\n\r\n");
    client.ShutdownSend();
    EXPECT_THAT(client.ReadAll(), HasSubstr("data: 299\n"));
    EXPECT_EQ(test.num_closed, 0);
    EXPECT_EQ(test.num_finished_streams, 1);
  }
}

TEST(HttpHalfCloseTest, ABodyAndPipelinedRequestsToo) {
  TestServer test;
  RawClient client(test.port());
  client.Send(Post("/echo", "Content-Length: 5\r\n", "first"));
  client.Send("GET /hold HTTP/1.1\r\nHost: x\r\n\r\n" + std::string(kHello));
  client.ShutdownSend();
  auto writer = test.TakeHeld();
  ASSERT_TRUE(writer);
  std::this_thread::sleep_for(20ms);
  writer->Send({200, {}, "second"});
  const std::string answers = client.ReadAll();
  EXPECT_LT(answers.find("first"), answers.find("second"));
  EXPECT_THAT(answers, EndsWith("\r\n\r\nhello"));
}

TEST(HttpHalfCloseTest, AClosedClientIsFoundOutByWhatIsSent) {
  TestServer test;
  for (const char* version : {"1.0", "1.1"}) {
    RawClient client(test.port());
    client.Send("GET /hold HTTP/" + std::string(version) + "\r\nHost: x\r\n\r\n");
    auto writer = test.TakeHeld();
    ASSERT_TRUE(writer);
    const int num_before = test.num_closed;
    client.Close();
    if (std::string_view(version) == "1.0") {  // it knows no interim answers
      std::this_thread::sleep_for(20ms);
      writer->StartStream(200, {});
      writer->Write("x");
    }
    EXPECT_TRUE(Eventually([&] { return test.num_closed == num_before + 1; })) << version;
  }
}

TEST(HttpHalfCloseTest, AnUnfinishedRequestIsNotWaitedFor) {
  TestServer test;
  for (const char* part : {"GET /hello HTT", "POST /echo HTTP/1.1\r\nHost: x\r\n",
                           "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nabc"}) {
    RawClient client(test.port());
    client.Send(part);
    client.ShutdownSend();
    EXPECT_EQ(client.ReadAll(), "") << part;
    EXPECT_TRUE(client.closed_by_server());
  }
}

}  // namespace
}  // namespace lorry::net
