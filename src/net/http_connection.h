// HttpConnection: one client's connection: reads requests, one at a time, and sends what their
// writers queue. Owns: the socket, its buffers and its deadlines. Kept alive by its pending
// operations and by the response's writer. Thread: everything on the connection's strand, but for
// the functions that say "any thread" (they share mutex_). Never: coroutines (g++ 12 miscompiles
// some), a callback or a handler called under the mutex.
#pragma once

#include <atomic>
#include <boost/asio/basic_stream_socket.hpp>
#include <boost/asio/basic_waitable_timer.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/strand.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/http/parser.hpp>
#include <memory>
#include <mutex>
#include <optional>

#include "net/connection_table.h"
#include "net/http_server.h"
#include "net/request_body.h"
#include "net/shared_bytes.h"

namespace lorry::net {

// What the connections of a server share.
struct HttpServerContext {
  HttpServerContext(HttpServerOptions server_options, HttpHandler request_handler,
                    HttpErrorFormatter error_formatter, HttpJudge request_judge)
      : options(std::move(server_options)),
        handler(std::move(request_handler)),
        format_error(std::move(error_formatter)),
        judge(std::move(request_judge)),
        connections(options.max_connections, options.max_newcomers),
        unfinished_headers(options.max_unfinished_header_bytes),
        unfinished_bodies(options.max_unfinished_body_bytes),
        unread_answers(options.max_unread_newcomer_bytes) {}

  const HttpServerOptions options;
  const HttpHandler handler;
  const HttpErrorFormatter format_error;
  const HttpJudge judge;
  ConnectionTable connections;
  SharedBytes unfinished_headers;
  SharedBytes unfinished_bodies;
  SharedBytes unread_answers;  // of newcomers
  boost::asio::io_context io;
  std::atomic<bool> draining = false;
  std::atomic<uint64_t> last_request_id = 0;
};

class HttpConnection : public std::enable_shared_from_this<HttpConnection> {
 public:
  using Strand = boost::asio::strand<boost::asio::io_context::executor_type>;
  using Socket = boost::asio::basic_stream_socket<boost::asio::ip::tcp, Strand>;

  HttpConnection(std::shared_ptr<HttpServerContext> context, Socket socket);
  ~HttpConnection();

  // Any thread.
  void Serve();  // reads requests
  void CloseIfIdle();
  void Dismiss();                         // makes room for other newcomers
  void GiveUp(const SharedBytes* bytes);  // what it holds of these
  void Abort();                           // closes with a reset: what was sent is not whole

  // The response's side. Any thread; false (or nothing) when the connection is gone.
  bool QueueHead(std::string_view bytes);
  bool QueueChunk(std::string_view bytes, bool chunked);
  void QueueEnd(bool chunked, bool close);  // the response is complete
  void SetOnClosed(std::function<void()> callback);
  bool gone() const;
  HttpServerContext& context() { return *context_; }

 private:
  using Clock = std::chrono::steady_clock;
  using TimePoint = Clock::time_point;
  using Timer = boost::asio::basic_waitable_timer<Clock, boost::asio::wait_traits<Clock>, Strand>;
  using Parser = boost::beast::http::request_parser<RequestBody>;
  using ErrorCode = boost::system::error_code;

  enum class State {
    kIdle,        // between requests
    kHeader,      // a part of a header has come
    kBody,        // a part of a body has come
    kResponding,  // a handler has the request
    kLingering,   // the last answer is sent; what still comes is read and dropped, lest a reset
                  // destroys that answer
    kDead,
  };

  // Input.
  void ReadMore();
  void OnRead(ErrorCode error, size_t num_bytes);
  void OnInputEnd(ErrorCode error);
  void ParseInput();
  // False: needs more bytes, or a request was dispatched or refused.
  bool ParseSome();
  bool ParseHeader();
  bool ParseBody();
  bool OnHeader();
  void Dispatch();
  void OnHalfClose();
  bool Refuse(HttpRefusal refusal);  // false, always
  bool Refuse(int status, std::string message) { return Refuse({status, std::move(message)}); }
  bool RefuseLength(int status, std::string_view what, size_t limit_bytes);
  bool RefuseMalformed(ErrorCode error);
  void Answer(const HttpResponse& response, bool close);

  // Memory that others need as well.
  void Account();
  void AccountUnread();
  void Release(SharedBytes*& held);
  size_t NextReadBytes() const;

  // Output.
  void CloseChunk();    // under mutex_
  void ScheduleSend();  // under mutex_
  void Send();
  bool SendSome();  // false: the socket is full, or the connection has died
  void OnResponseSent();

  // Life.
  void SetReadDeadline(std::chrono::milliseconds from_now) { read_by_ = Clock::now() + from_now; }
  void ArmTimer();
  void OnTimer(ErrorCode error);
  void OnReadDeadline();
  void Linger();
  void Die(bool reset);

  const std::shared_ptr<HttpServerContext> context_;
  Socket socket_;
  Timer timer_;
  std::string remote_address_;
  State state_ = State::kIdle;

  std::unique_ptr<char[]> received_;  // of a pending read, which may outlast parsing
  size_t received_bytes_ = 0;         // its size
  bool was_filled_ = false;           // by the last read: there is more
  boost::beast::flat_buffer input_;   // received, not yet parsed
  size_t num_searched_ = 0;           // of input_, without the end of a header
  std::optional<Parser> parser_;      // from the end of the header to that of the body
  HttpRequest request_;               // while parser_ is there: its head
  bool is_http_1_0_ = false;          // of the last request
  bool keep_alive_ = false;           // as it asked
  bool is_head_ = false;
  bool is_admitted_ = false;
  SharedBytes* held_ = nullptr;         // of which kind this connection's input is accounted
  SharedBytes* held_unread_ = nullptr;  // the same of its output
  bool reading_ = false;                // an async_read_some is pending
  bool input_end_ = false;              // the client has shut down its side
  bool awaits_reset_ = false;           // since then
  size_t max_body_bytes_ = 0;
  size_t num_dropped_bytes_ = 0;

  std::string sending_;  // taken from queue_, on its way to the socket
  size_t num_sent_ = 0;  // of sending_

  TimePoint read_by_ = TimePoint::max();
  TimePoint write_by_ = TimePoint::max();
  TimePoint timer_at_ =
      TimePoint::max();  // when timer_ fires; it may find that its deadline has moved

  mutable std::mutex mutex_;  // guards what follows
  std::string queue_;         // bytes as they go on the wire, but for the open chunk's size
  size_t chunk_start_ =
      std::string::npos;    // in queue_: where the open chunk's size is to be written
  size_t num_sending_ = 0;  // sending_.size()
  bool send_scheduled_ =
      false;  // Send is posted, running or waits for the socket: no need to wake it
  bool response_begun_ = false;
  bool response_complete_ = false;
  bool close_after_ = false;
  bool gone_ = false;    // nothing can be sent any more
  bool closed_ = false;  // and on_closed_ has been called
  std::function<void()> on_closed_;
};

}  // namespace lorry::net
