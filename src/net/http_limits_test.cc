// Every limit of the server, and bytes that are not HTTP.
#include <gmock/gmock.h>
#include <netinet/in.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/log.h"
#include "net/http_test_server.h"

namespace lorry::net {
namespace {

using namespace std::string_literals;
using testing::HasSubstr;
using testing::StartsWith;

TEST(HttpLimitsTest, LargeHeaderIs431) {
  TestServer test({.max_header_bytes = 1024});
  RawClient whole(test.port());
  whole.Send("GET /hello HTTP/1.1\r\nHost: x\r\nX: " + std::string(5000, 'x') + "\r\n\r\n");
  EXPECT_THAT(whole.ReadAll(), StartsWith("HTTP/1.1 431 "));
  RawClient endless(test.port());
  std::string answer;
  for (int i = 0; i < 10'000 && endless.Send("GET"); ++i) {
  }
  EXPECT_THAT(endless.ReadAll(), StartsWith("HTTP/1.1 431 "));
  EXPECT_EQ(test.num_requests, 0);
}

TEST(HttpLimitsTest, LargeBodyIs413AndReachesTheClient) {
  TestServer test({.max_body_bytes = 1000});
  HttpClient client = test.Client();
  EXPECT_EQ(
      client
          .Send(
              {.method = "POST", .target = "/echo", .headers = {}, .body = std::string(1000, 'x')})
          ->status,
      200);
  // The answer comes while the body is still being sent, and must not be lost to a reset.
  const auto response = client.Send(
      {.method = "POST", .target = "/echo", .headers = {}, .body = std::string(2'000'000, 'x')});
  ASSERT_TRUE(response) << response.error().message;
  EXPECT_EQ(response->status, 413);
  EXPECT_THAT(response->body, HasSubstr("larger than 1000 bytes"));
  EXPECT_EQ(response->headers.Find("Content-Type"), "application/json");

  RawClient chunked(test.port());
  chunked.Send("POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n");
  for (int i = 0; i < 20; ++i) chunked.Send("64\r\n" + std::string(100, 'x') + "\r\n");
  EXPECT_THAT(chunked.ReadAll(), StartsWith("HTTP/1.1 413 "));
}

TEST(HttpLimitsTest, TheClientTakesNoAnswerOverItsLimit) {
  TestServer test;
  HttpClient client = test.Client();
  HttpCall call = {.method = "POST", .target = "/echo", .body = std::string(1000, 'x')};
  call.max_body_bytes = 1000;
  EXPECT_EQ(client.Send(call)->body.size(), 1000u);
  call.max_body_bytes = 999;
  const auto refused = client.Send(call);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, ErrorCode::kTooLarge);
  size_t num_bytes = 0;  // what is handed on has no limit
  EXPECT_TRUE(client.Stream(call, [&](std::string_view chunk) {
    num_bytes += chunk.size();
    return true;
  }));
  EXPECT_EQ(num_bytes, 1000u);
}

TEST(HttpLimitsTest, SlowHeaderIs408) {
  TestServer test({.header_timeout = 150ms});
  RawClient client(test.port());
  const auto start = std::chrono::steady_clock::now();
  client.Send("GET /hello HTTP/1.1\r\n");
  for (int i = 0; i < 10; ++i) {  // each byte in time, the whole not
    std::this_thread::sleep_for(20ms);
    client.Send("X");
  }
  EXPECT_THAT(client.ReadAll(), StartsWith("HTTP/1.1 408 "));
  EXPECT_LT(std::chrono::steady_clock::now() - start, 3s);
}

TEST(HttpLimitsTest, SilentConnectionIsClosed) {
  TestServer test({.header_timeout = 50ms});
  RawClient client(test.port());
  EXPECT_EQ(client.ReadAll(), "");
  EXPECT_TRUE(client.closed_by_server());
}

TEST(HttpLimitsTest, SlowBodyIs408) {
  TestServer test({.body_timeout = 50ms});
  RawClient client(test.port());
  client.Send("POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n12345");
  EXPECT_THAT(client.ReadAll(), StartsWith("HTTP/1.1 408 "));
}

TEST(HttpLimitsTest, IdleConnectionIsClosed) {
  TestServer test({.idle_timeout = 50ms});
  RawClient client(test.port());
  client.Send("GET /hello HTTP/1.1\r\nHost: x\r\n\r\n");
  EXPECT_THAT(client.ReadAll(), HasSubstr("hello"));
  EXPECT_TRUE(client.closed_by_server());
}

TEST(HttpLimitsTest, TimeToAnswerIsNotLimited) {
  TestServer test(
      {.header_timeout = 20ms, .body_timeout = 20ms, .idle_timeout = 20ms, .write_timeout = 20ms});
  RawClient client(test.port());
  client.Send("GET /hold HTTP/1.1\r\nHost: x\r\n\r\n");
  auto writer = test.TakeHeld();
  ASSERT_TRUE(writer);
  std::this_thread::sleep_for(100ms);
  writer->Send({200, {}, "late"});
  EXPECT_THAT(client.ReadUntil("late"), HasSubstr("late"));
  EXPECT_EQ(test.num_closed, 0);
}

TEST(HttpLimitsTest, TooManyConnectionsAreToldSo) {
  TestServer test({.max_connections = 3});
  std::vector<std::unique_ptr<RawClient>> clients;
  for (int i = 0; i < 3; ++i) {
    clients.push_back(std::make_unique<RawClient>(test.port()));
    clients.back()->Send("GET /hello HTTP/1.1\r\nHost: x\r\n\r\n");
    ASSERT_THAT(clients.back()->ReadUntil("hello"), HasSubstr("hello"));
  }
  RawClient refused(test.port());
  refused.Send("GET /hello HTTP/1.1\r\nHost: x\r\n\r\n");
  const std::string answer = refused.ReadAll();
  EXPECT_THAT(answer, StartsWith("HTTP/1.1 503 Service Unavailable\r\n"));
  EXPECT_THAT(answer, HasSubstr("limit 3"));
  refused.Close();
  clients.pop_back();
  EXPECT_TRUE(Eventually([&] { return test.server().num_connections() == 2; }));
  EXPECT_EQ(test.Client().Send({.target = "/hello"})->status, 200);
}

TEST(HttpLimitsTest, WithoutFileDescriptorsEveryListenerGoesOnLater) {
  TestServer test({.host = "localhost"});  // at an address of IPv4, and one of IPv6
  const auto port = htons(static_cast<uint16_t>(test.port()));
  const int v4 = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  const int v6 = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in address = {.sin_family = AF_INET, .sin_port = port};
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  sockaddr_in6 address6 = {.sin6_family = AF_INET6, .sin6_port = port};
  address6.sin6_addr = in6addr_loopback;
  // A sanitizer checks what it meets for the first time by means of a descriptor.
  EXPECT_EQ(test.Client().Send({.target = "/hello"})->status, 200);
  EXPECT_TRUE(Eventually([&] { return test.server().num_connections() == 0; }));
  log::Warning("no descriptors from here on");
  log::Flush();
  rlimit before;
  ASSERT_EQ(getrlimit(RLIMIT_NOFILE, &before), 0);
  rlimit none = before;
  none.rlim_cur = 0;
  ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &none), 0);
  EXPECT_EQ(connect(v4, reinterpret_cast<sockaddr*>(&address), sizeof(address)), 0);
  const bool has_v6 = connect(v6, reinterpret_cast<sockaddr*>(&address6), sizeof(address6)) == 0;
  std::this_thread::sleep_for(150ms);
  EXPECT_EQ(test.server().num_connections(), 0);
  ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &before), 0);
  EXPECT_TRUE(Eventually([&] { return test.server().num_connections() == 1 + has_v6; }));
  close(v4);
  close(v6);
}

struct Hostile {
  std::string bytes;
  std::string answer;  // its beginning; "": any, or none
};

std::vector<Hostile> HostileInputs() {
  const std::string host = "Host: x\r\n";
  const std::string bad = "HTTP/1.1 400 ";
  return {
      {"\0"s, ""},
      {std::string(100, '\0'), bad},
      {"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"s, bad},  // a TLS hello
      {"\r\n\r\n\r\n\r\n", ""},
      {"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "HTTP/1.1 505 "},
      {"GET\r\n\r\n", bad},
      {"GET /\r\n\r\n", bad},
      {"GET  / HTTP/1.1\r\n" + host + "\r\n", bad},
      {"GET / HTTP/1.1 \r\n" + host + "\r\n", "HTTP/1.1 505 "},
      {"GET / HTTP/9.9\r\n" + host + "\r\n", "HTTP/1.1 505 "},
      {"GET / HTTP/1.1\r\n\r\n", bad},                     // no Host
      {"GET / HTTP/1.1\r\n" + host + host + "\r\n", bad},  // two
      {"GET /\x01 HTTP/1.1\r\n" + host + "\r\n", bad},
      {"GET /%00 HTTP/1.1\r\n" + host + "\r\n", bad},
      {"GET /%zz HTTP/1.1\r\n" + host + "\r\n", bad},
      {"GET hello HTTP/1.1\r\n" + host + "\r\n", bad},
      {"GET http://x?y HTTP/1.1\r\n" + host + "\r\n", bad},
      {"CONNECT x:443 HTTP/1.1\r\n" + host + "\r\n", bad},
      {"G\x80T / HTTP/1.1\r\n" + host + "\r\n", bad},
      {"GET / HTTP/1.1\r\nno colon\r\n\r\n", bad},
      {"GET / HTTP/1.1\r\n: empty name\r\n\r\n", bad},
      {"GET / HTTP/1.1\r\nA b: space in name\r\n\r\n", bad},
      {"GET / HTTP/1.1\r\nX: a\0b\r\n\r\n"s, bad},
      {"GET / HTTP/1.1\r\nX: a\rb\r\n\r\n", bad},
      {"GET / HTTP/1.1\nHost: x\n\n", ""},
      {"POST /echo HTTP/1.1\r\n" + host + "Content-Length: -1\r\n\r\n", bad},
      {"POST /echo HTTP/1.1\r\n" + host + "Content-Length: 1x\r\n\r\n", bad},
      {"POST /echo HTTP/1.1\r\n" + host + "Content-Length: 99999999999999999999\r\n\r\n", ""},
      {"POST /echo HTTP/1.1\r\n" + host + "Content-Length: 18446744073709551615\r\n\r\n",
       "HTTP/1.1 413 "},
      {"POST /echo HTTP/1.1\r\n" + host + "Content-Length: 3\r\nContent-Length: 4\r\n\r\nabcd",
       bad},
      {"POST /echo HTTP/1.1\r\n" + host + "Content-Length: 3, 4\r\n\r\nabcd", bad},
      {"POST /echo HTTP/1.1\r\n" + host +
           "Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
       bad},
      {"POST /echo HTTP/1.1\r\n" + host +
           "Transfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n0\r\n\r\n",
       bad},
      {"POST /echo HTTP/1.1\r\n" + host + "Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n",
       "HTTP/1.1 501 "},
      {"POST /echo HTTP/1.1\r\n" + host + "Transfer-Encoding: chunked\r\n\r\nzz\r\n", bad},
      {"POST /echo HTTP/1.1\r\n" + host + "Transfer-Encoding: chunked\r\n\r\n-1\r\n", bad},
      {"POST /echo HTTP/1.1\r\n" + host + "Transfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\n",
       ""},
      {"POST /echo HTTP/1.1\r\n" + host + "Transfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\n",
       "HTTP/1.1 413 "},
      {"POST /echo HTTP/1.1\r\n" + host + "Transfer-Encoding: chunked\r\n\r\n3\r\nabcd\r\n", ""},
      {"POST /echo HTTP/1.1\r\n" + host + "Transfer-Encoding: chunked\r\n\r\n1;" +
           std::string(200'000, 'x'),
       ""},
      {"POST /echo HTTP/1.1\r\n" + host + "Transfer-Encoding: chunked\r\n\r\n0\r\n" +
           std::string(200'000, 'x'),
       ""},
      {"POST /echo HTTP/1.1\r\n" + host + "Content-Length: 5\r\n\r\nab", ""},  // and hangs up
      {"GET / HTTP/1.1\r\nHost", ""},
      {std::string(1'000'000, 'A'), "HTTP/1.1 431 "},
      {"GET /" + std::string(1'000'000, 'A') + " HTTP/1.1\r\n\r\n", "HTTP/1.1 431 "},
  };
}

TEST(HttpHostileTest, NothingBreaksTheServer) {
  TestServer test;
  int index = 0;
  for (const Hostile& input : HostileInputs()) {
    RawClient client(test.port());
    client.Send(input.bytes);
    client.ShutdownSend();
    const std::string answer = client.ReadAll();
    EXPECT_THAT(answer, StartsWith(input.answer))
        << "input " << index << ": " << input.bytes.substr(0, 90);
    EXPECT_TRUE(client.closed_by_server()) << "input " << index;
    ++index;
    client.Close();
    ASSERT_EQ(test.Client().Send({.target = "/hello"})->body, "hello") << "after input " << index;
  }
}

TEST(HttpHostileTest, ByteByByteIsTheSame) {
  TestServer test;
  for (const Hostile& input : HostileInputs()) {
    if (input.bytes.size() > 500) continue;
    RawClient client(test.port());
    for (const char byte : input.bytes) {
      if (!client.Send({&byte, 1})) break;
    }
    client.ShutdownSend();
    EXPECT_THAT(client.ReadAll(), StartsWith(input.answer)) << input.bytes;
  }
  RawClient good(test.port());
  for (const char byte : "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\nbody"s)
    good.Send({&byte, 1});
  EXPECT_THAT(good.ReadUntil("body"), HasSubstr("\r\n\r\nbody"));
}

}  // namespace
}  // namespace lorry::net
