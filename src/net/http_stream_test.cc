// Streams, hang-ups and the end of the server.
#include <gmock/gmock.h>

#include "net/http_test_server.h"

namespace lorry::net {
namespace {

using testing::EndsWith;
using testing::HasSubstr;
using testing::Not;

TEST(HttpStreamTest, StreamsEvents) {
  TestServer test;
  HttpClient client = test.Client();
  for (int round = 0; round < 3; ++round) {  // the connection is kept
    int num_events = 0;
    const auto response =
        client.StreamEvents({.target = "/stream/500"}, [&](std::string_view data) {
          EXPECT_EQ(data, std::to_string(num_events));
          ++num_events;
          return true;
        });
    ASSERT_TRUE(response) << response.error().message;
    EXPECT_EQ(response->headers.Find("Content-Type"), "text/event-stream");
    EXPECT_EQ(num_events, 500);
  }
  EXPECT_EQ(test.server().num_connections(), 1);
  EXPECT_EQ(test.num_finished_streams, 3);
  EXPECT_EQ(test.num_closed, 0);
}

TEST(HttpStreamTest, FirstPieceComesAtOnce) {
  TestServer test;
  RawClient client(test.port());
  client.Send("GET /hold HTTP/1.1\r\nHost: x\r\n\r\n");
  auto writer = test.TakeHeld();
  ASSERT_TRUE(writer);
  writer->StartStream(200, {});
  EXPECT_THAT(client.ReadUntil("\r\n\r\n"), HasSubstr("Transfer-Encoding: chunked\r\n"));
  writer->Write("first");
  EXPECT_EQ(client.ReadUntil("first\r\n"), "00000005\r\nfirst\r\n");
  writer->Finish();
  EXPECT_EQ(client.ReadUntil("0\r\n\r\n"), "0\r\n\r\n");
  EXPECT_FALSE(writer->Write("late"));
}

TEST(HttpStreamTest, HangUpBeforeTheFirstByteIsSeen) {
  TestServer test;
  for (const bool reset : {false, true}) {
    RawClient client(test.port());
    client.Send("GET /hold HTTP/1.1\r\nHost: x\r\n\r\n");
    auto writer = test.TakeHeld();
    ASSERT_TRUE(writer);
    EXPECT_FALSE(writer->closed());
    const int num_before = test.num_closed;
    reset ? client.Reset() : client.Close();
    EXPECT_TRUE(Eventually([&] { return test.num_closed == num_before + 1; }));
    EXPECT_TRUE(writer->closed());
    writer->Send({200, {}, "nobody listens"});
  }
  EXPECT_EQ(test.server().num_connections(), 0);
}

TEST(HttpStreamTest, HangUpInTheMiddleIsSeen) {
  TestServer test;
  RawClient client(test.port());
  client.Send("GET /stream/1000000 HTTP/1.1\r\nHost: x\r\n\r\n");
  EXPECT_THAT(client.ReadUntil("data: 20\n"), HasSubstr("data: 20\n"));
  client.Close();
  EXPECT_TRUE(Eventually([&] { return test.num_closed == 1; }));
  EXPECT_EQ(test.num_finished_streams, 0);
  EXPECT_TRUE(Eventually([&] { return test.server().num_connections() == 0; }));
}

TEST(HttpStreamTest, HangUpIsSeenBehindAPipelinedRequest) {
  TestServer test;
  RawClient client(test.port());
  client.Send("GET /hold HTTP/1.1\r\nHost: x\r\n\r\nGET /hello HTTP/1.1\r\nHost: x\r\n\r\n");
  auto writer = test.TakeHeld();
  ASSERT_TRUE(writer);
  client.Close();
  EXPECT_TRUE(Eventually([&] { return test.num_closed == 1; }));
}

TEST(HttpStreamTest, ClosedCallbackRunsAlsoWhenSetTooLate) {
  TestServer test;
  RawClient client(test.port());
  client.Send("GET /hold HTTP/1.1\r\nHost: x\r\n\r\n");
  auto writer = test.TakeHeld();
  ASSERT_TRUE(writer);
  client.Close();
  ASSERT_TRUE(Eventually([&] { return test.num_closed == 1; }));
  bool called = false;
  writer->OnClosed([&] { called = true; });
  EXPECT_TRUE(called);
}

TEST(HttpStreamTest, UnfinishedStreamIsCut) {
  TestServer test;
  HttpClient client = test.Client();
  std::thread handler([&] {
    auto writer = test.TakeHeld();
    writer->StartStream(200, {});
    writer->Write("some");
  });
  const auto response = client.Stream({.target = "/hold"}, [](std::string_view) { return true; });
  handler.join();
  ASSERT_FALSE(response);
  EXPECT_EQ(response.error().code, ErrorCode::kUnavailable);
}

TEST(HttpStreamTest, SlowReaderIsCutOff) {
  TestServer test({.max_queued_bytes = 256 << 10});
  RawClient client(test.port(), /*receive_buffer_bytes=*/4096);
  client.Send("GET /hold HTTP/1.1\r\nHost: x\r\n\r\n");
  auto writer = test.TakeHeld();
  ASSERT_TRUE(writer);
  writer->StartStream(200, {});
  const std::string piece(16 << 10, 'x');
  size_t num_pieces = 0;
  while (num_pieces < 4096 && writer->Write(piece)) ++num_pieces;
  EXPECT_LT(num_pieces, 4096u);
  EXPECT_GE(num_pieces, (256u << 10) / piece.size());
  EXPECT_TRUE(Eventually([&] { return test.num_closed == 1; }));
}

TEST(HttpStreamTest, ReaderThatStopsIsCutOff) {
  TestServer test({.write_timeout = 100ms});
  RawClient client(test.port(), /*receive_buffer_bytes=*/4096);
  client.Send("GET /hold HTTP/1.1\r\nHost: x\r\n\r\n");
  auto writer = test.TakeHeld();
  ASSERT_TRUE(writer);
  writer->StartStream(200, {});
  for (int i = 0; i < 60; ++i) writer->Write(std::string(64 << 10, 'x'));  // below max_queued_bytes
  EXPECT_TRUE(Eventually([&] { return test.num_closed == 1; }));
}

TEST(HttpStreamTest, SlowButSteadyReaderGetsAll) {
  TestServer test;
  RawClient client(test.port(), /*receive_buffer_bytes=*/4096);
  client.Send("GET /hold HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
  auto writer = test.TakeHeld();
  ASSERT_TRUE(writer);
  writer->Send(
      {200, {}, std::string(8 << 20, 'x')});  // answers may be larger than max_queued_bytes
  const std::string answer = client.ReadAll(20'000ms);
  EXPECT_EQ(answer.size() - answer.find("\r\n\r\n") - 4, 8u << 20);
}

TEST(HttpStreamTest, ManyStreamsSomeHangUp) {
  TestServer test({.num_io_threads = 2});
  std::atomic<int> num_complete = 0;
  std::vector<std::thread> threads;
  for (int i = 0; i < 48; ++i) {
    threads.emplace_back([&, hangs_up = i % 3 == 0] {
      HttpClient client = test.Client();
      int num_events = 0;
      const auto response = client.StreamEvents({.target = "/stream/2000"}, [&](std::string_view) {
        return ++num_events < (hangs_up ? 100 : INT_MAX);
      });
      if (response && num_events == 2000) ++num_complete;
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(num_complete, 32);
  EXPECT_TRUE(Eventually([&] { return test.num_closed == 16 && test.num_finished_streams == 32; }));
}

TEST(HttpDrainTest, FinishesWhatRunsAndClosesTheIdle) {
  TestServer test;
  HttpClient idle = test.Client();
  ASSERT_TRUE(idle.Send({.target = "/hello"}));
  RawClient busy(test.port());
  busy.Send("GET /hold HTTP/1.1\r\nHost: x\r\n\r\n");
  auto writer = test.TakeHeld();
  ASSERT_TRUE(writer);

  EXPECT_FALSE(test.server().Drain(50ms));
  EXPECT_EQ(test.server().num_connections(), 1);
  EXPECT_FALSE(idle.Send({.target = "/hello"}));  // no new connections
  EXPECT_EQ(test.num_closed, 0);
  writer->Send({200, {}, "done"});
  const std::string answer = busy.ReadAll();
  EXPECT_THAT(answer, HasSubstr("Connection: close"));
  EXPECT_THAT(answer, EndsWith("done"));
  busy.Close();
  EXPECT_TRUE(test.server().Drain(5000ms));
}

TEST(HttpDrainTest, StopCutsWhatRuns) {
  auto test = std::make_unique<TestServer>();
  RawClient client(test->port());
  client.Send("GET /hold HTTP/1.1\r\nHost: x\r\n\r\n");
  auto writer = test->TakeHeld();
  ASSERT_TRUE(writer);
  writer->StartStream(200, {});
  client.ReadUntil("\r\n\r\n");
  test->server().Stop();
  EXPECT_EQ(test->num_closed, 1);
  EXPECT_TRUE(writer->closed());
  EXPECT_FALSE(writer->Write("x"));
  EXPECT_THAT(client.ReadAll(), Not(EndsWith("0\r\n\r\n")));
  test.reset();
  EXPECT_FALSE(writer->Write("the server is gone, its writer is not"));
  writer->Finish();
}

TEST(HttpDrainTest, StopWithThousandsOfWritesUnderWay) {
  for (int round = 0; round < 20; ++round) {
    TestServer test({.num_io_threads = 2});
    std::vector<std::unique_ptr<RawClient>> clients;
    for (int i = 0; i < 8; ++i) {
      clients.push_back(std::make_unique<RawClient>(test.port()));
      clients.back()->Send("GET /stream/1000000 HTTP/1.1\r\nHost: x\r\n\r\n");
    }
    ASSERT_THAT(clients.back()->ReadUntil("data: 5\n"), HasSubstr("data: 5\n"));
    test.server().Stop();
    EXPECT_EQ(test.server().num_connections(), 0);
  }
}

TEST(HttpClientTest, ReconnectsWhenTheServerClosedAnIdleConnection) {
  TestServer test({.idle_timeout = 20ms});
  HttpClient client = test.Client();
  ASSERT_TRUE(client.Send({.target = "/hello"}));
  ASSERT_TRUE(Eventually([&] { return test.server().num_connections() == 0; }));
  EXPECT_TRUE(client.Send({.target = "/hello"}));
}

TEST(HttpClientTest, GivesUpInTime) {
  TestServer test;
  HttpClient client = test.Client();
  const auto response = client.Send({.target = "/hold", .timeout = 50ms});
  ASSERT_FALSE(response);
  EXPECT_EQ(response.error().code, ErrorCode::kDeadline);
  EXPECT_TRUE(Eventually([&] { return test.num_closed == 1; }));  // its connection is closed
}

TEST(HttpClientTest, SaysWhoIsNotThere) {
  int port;
  {
    TestServer test;
    port = test.port();
  }
  const auto response = HttpClient("127.0.0.1", port).Send({});
  ASSERT_FALSE(response);
  EXPECT_EQ(response.error().code, ErrorCode::kUnavailable);
  EXPECT_THAT(response.error().message, HasSubstr(std::to_string(port)));
}

}  // namespace
}  // namespace lorry::net
