// HttpServer: HTTP/1.0 and 1.1 over TCP, with streamed answers. Knows no routes: every request goes
// to one handler. Owns: the listening socket, the io threads and the connections. Thread: Start,
// Drain and Stop from one thread; handlers run on io threads and must not block. Never: two
// requests of one connection at once, more memory than the limits below allow per connection.
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "base/result.h"
#include "net/http_message.h"
#include "net/response_writer.h"

namespace lorry::net {

struct HttpServerOptions {
  std::string host = "127.0.0.1";  // an address or a name; "0.0.0.0" or "::" for all
  int port = 0;                    // 0: any free one
  int num_io_threads = 1;          // one carries thousands of streamed events a second
  int max_connections = 4096;      // beyond: 503 and close
  size_t max_header_bytes = 64 << 10;
  size_t max_body_bytes = 32 << 20;
  size_t max_queued_bytes =
      4 << 20;  // a stream's bytes that the client has not yet taken; beyond: cut off
  bool keep_alive = true;
  std::chrono::milliseconds header_timeout{
      10'000};  // from the first byte of a request (or the connect) to its body
  std::chrono::milliseconds body_timeout{60'000};   // for the whole body
  std::chrono::milliseconds idle_timeout{75'000};   // between the requests of a connection
  std::chrono::milliseconds write_timeout{30'000};  // without the client taking a single byte
};

// Called on an io thread for each request. May answer at once, or keep `writer` and answer from
// another thread.
using HttpHandler =
    std::function<void(HttpRequest request, std::shared_ptr<ResponseWriter> writer)>;

// The answer to what the server itself refuses (malformed: 400, timeouts: 408, body: 413, header:
// 431, handler gave no answer: 500, connections: 503), in the shape that the handler's clients
// know. Called on io threads.
using HttpErrorFormatter = std::function<HttpResponse(int status, std::string_view message)>;

class HttpServer {
 public:
  HttpServer(HttpServerOptions options, HttpHandler handler, HttpErrorFormatter format_error);
  ~HttpServer();  // Stop

  // Listens and starts the io threads; the port that it got. kConflict: the port is in use;
  // kPermission; kInvalidArgument: not an address of this machine.
  Result<int> Start();

  // No new connections; idle ones are closed, the others after their current answer. Returns when
  // all are gone (true) or after `limit` (false).
  bool Drain(std::chrono::milliseconds limit);

  // Closes everything at once (OnClosed fires) and joins the io threads. Writers may outlive it;
  // they do nothing then.
  void Stop();

  int num_connections() const;

 private:
  struct Core;
  std::unique_ptr<Core> core_;
};

}  // namespace lorry::net
