// HttpServer: HTTP/1.0 and 1.1 over TCP, with streamed answers. Knows no routes: every request goes
// to one handler. Owns: the listening socket, the io threads and the connections. Thread: Start,
// Drain and Stop from one thread; handlers run on io threads and must not block. Never: two
// requests of one connection at once, more memory than the limits below allow, per connection and
// for all that is unfinished together.
#pragma once

#include <chrono>
#include <functional>
#include <limits>
#include <memory>
#include <optional>
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
  int max_connections = 4096;      // that were admitted (HttpVerdict); beyond: 503 and close
  int max_newcomers = 4096;        // that were not, yet; beyond: the oldest of them is closed,
                                   // and some may be on their way out (connection_table.h)
  size_t max_header_bytes = 64 << 10;
  size_t max_body_bytes = 32 << 20;
  size_t max_queued_bytes =
      4 << 20;  // a stream's bytes that the client has not yet taken; beyond: cut off
  // Of all connections together; beyond, the oldest gives its up (503, or it is cut off).
  size_t max_unfinished_header_bytes = 32 << 20;
  size_t max_unfinished_body_bytes = 256 << 20;
  size_t max_unread_newcomer_bytes = 8 << 20;  // answers that newcomers have asked for and not read
  bool keep_alive = true;
  std::chrono::milliseconds header_timeout{
      10'000};  // from the first byte of a request (or the connect) to its body
  std::chrono::milliseconds body_timeout{60'000};   // for the whole body
  std::chrono::milliseconds idle_timeout{75'000};   // between the requests of a connection
  std::chrono::milliseconds write_timeout{30'000};  // without the client taking a single byte
};

// What becomes of a request whose header has come.
struct HttpVerdict {
  // Sent at once; of a request with a body the connection is closed after it.
  std::optional<HttpResponse> refusal;
  bool admits = true;      // the connection is no newcomer any more
  bool keeps_body = true;  // false: the body is read and dropped
  size_t max_body_bytes = std::numeric_limits<size_t>::max();  // beside the server's own limit
};

// Called on an io thread when a request's header is complete, before its body is read; `head` has
// none. Null: all are taken.
using HttpJudge = std::function<HttpVerdict(const HttpRequest& head, bool has_body)>;

// Called on an io thread for each request. May answer at once, or keep `writer` and answer from
// another thread.
using HttpHandler =
    std::function<void(HttpRequest request, std::shared_ptr<ResponseWriter> writer)>;

// What the server itself refuses: malformed: 400, timeouts: 408, body: 413, header: 431, handler
// gave no answer: 500, connections and unfinished bytes: 503.
struct HttpRefusal {
  int status = 500;
  std::string message;
  std::string method;  // and path: "" if the header has not come
  std::string path;
  std::string remote_address;
  size_t limit_bytes = 0;  // that a header or body goes beyond; 0: it is not about its length
};

// The answer to it, in the shape that the handler's clients know. Called on io threads.
using HttpErrorFormatter = std::function<HttpResponse(const HttpRefusal& refusal)>;

class HttpServer {
 public:
  HttpServer(HttpServerOptions options, HttpHandler handler, HttpErrorFormatter format_error,
             HttpJudge judge = nullptr);
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
