// For net's tests: a server with a few answers, and a client that sends any bytes.
#pragma once

#include <gtest/gtest.h>

#include <atomic>
#include <condition_variable>
#include <map>
#include <mutex>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "net/http_client.h"
#include "net/http_server.h"

namespace lorry::net {

using namespace std::chrono_literals;

// True as soon as `condition` is, false when it is not within 5 s.
template <typename Condition>
bool Eventually(const Condition& condition) {
  for (int i = 0; i < 5000; ++i) {
    if (condition()) return true;
    std::this_thread::sleep_for(1ms);
  }
  return condition();
}

// A TCP connection for bytes that no well-behaved client sends.
class RawClient {
 public:
  explicit RawClient(int port, int receive_buffer_bytes = 0);
  ~RawClient();
  RawClient(const RawClient&) = delete;

  bool Send(std::string_view bytes);  // false: the server has closed
  void ShutdownSend();
  void Close();
  void Reset();  // closes with RST
  // What comes until `end` has come, the server closes or `limit` passes.
  std::string ReadUntil(std::string_view end, std::chrono::milliseconds limit = 5000ms);
  std::string ReadAll(std::chrono::milliseconds limit = 5000ms);  // until the server closes
  bool closed_by_server() const { return closed_by_server_; }

 private:
  int fd_ = -1;
  bool closed_by_server_ = false;
};

// GET /hello, POST /echo, GET /query; GET /stream/<events> streams that many from a thread; GET
// /hold keeps the writer for the test to use; GET /drop gives no answer; GET /throw throws.
class TestServer {
 public:
  explicit TestServer(HttpServerOptions options = {}, HttpJudge judge = nullptr);
  ~TestServer();

  int port() const { return port_; }
  HttpServer& server() { return *server_; }
  HttpClient Client() const { return HttpClient("127.0.0.1", port_); }

  std::shared_ptr<ResponseWriter>
  TakeHeld();  // waits for a GET /hold; its OnClosed counts in num_closed
  std::atomic<int> num_requests = 0;
  std::atomic<int> num_closed = 0;
  std::atomic<int> num_finished_streams = 0;

 private:
  void Handle(HttpRequest request, std::shared_ptr<ResponseWriter> writer);
  void StreamEvents(int num_events, const std::shared_ptr<ResponseWriter>& writer);

  std::unique_ptr<HttpServer> server_;
  int port_ = 0;
  std::mutex mutex_;
  std::condition_variable held_;
  std::vector<std::shared_ptr<ResponseWriter>> held_writers_;
  std::vector<std::thread> threads_;
};

}  // namespace lorry::net
