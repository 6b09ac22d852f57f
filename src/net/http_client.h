// HttpClient: one keep-alive connection to an http:// server, blocking. For load tests, `lorry run`
// and tests. Owns: its socket. Thread: one at a time; give every thread its own.
#pragma once

#include <chrono>
#include <cstddef>
#include <functional>
#include <string>
#include <string_view>

#include "base/result.h"
#include "net/http_message.h"

namespace lorry::net {

struct HttpUrl {
  std::string host;
  int port = 80;
  std::string path;  // "/v1", no '/' at its end; "" for none
};

// "http://host[:port][/path]", "[::1]" for IPv6. https is kUnsupported.
Result<HttpUrl> ParseHttpUrl(std::string_view url);

struct HttpCall {
  std::string method = "GET";
  std::string target = "/";  // path and query, as they are to be sent
  HttpHeaders headers;       // Host, Content-Length and Connection are the client's
  std::string body;
  std::chrono::milliseconds timeout{
      60'000};  // for Send: the whole call; for streams: without a byte
  size_t max_body_bytes =
      64 << 20;  // of an answer that is returned; what is handed on has no limit
};

class HttpClient {
 public:
  HttpClient(std::string host, int port);
  ~HttpClient();
  HttpClient(HttpClient&& other) noexcept;
  HttpClient& operator=(HttpClient&& other) noexcept;

  // Connects when there is no connection. A connection kept alive that the server closed meanwhile
  // is opened anew once. Any status is a success; errors are kUnavailable (connect, reset),
  // kDeadline, kTooLarge (the body) and kDataLoss (not HTTP).
  Result<HttpResponse> Send(const HttpCall& call);

  // As Send, but hands on each piece of the body as it comes; false from on_chunk hangs up
  // (kCancelled). The response's body is empty then. Bodies of a status other than 2xx are not
  // handed on but returned, as with Send.
  Result<HttpResponse> Stream(const HttpCall& call,
                              const std::function<bool(std::string_view chunk)>& on_chunk);

  // As Stream, for server-sent events: called with the data of each.
  Result<HttpResponse> StreamEvents(const HttpCall& call,
                                    const std::function<bool(std::string_view data)>& on_data);

  void Close();
  bool connected() const { return fd_ >= 0; }

 private:
  using OnChunk = std::function<bool(std::string_view)>;
  using Deadline = std::chrono::steady_clock::time_point;

  Status Connect(Deadline deadline);
  Status SendAll(std::string_view bytes, Deadline deadline);
  Result<size_t> Receive(char* into, size_t num_bytes, Deadline deadline);
  Result<HttpResponse> Call(const HttpCall& call, const OnChunk* on_chunk);
  Result<HttpResponse> ReadResponse(const HttpCall& call, const OnChunk* on_chunk, bool& got_bytes);

  std::string host_;
  int port_;
  int fd_ = -1;
};

}  // namespace lorry::net
