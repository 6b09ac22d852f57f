// HttpConnection: one client's connection: reads requests, one at a time, and sends what their
// writers queue. Owns: the socket, its buffers and its deadlines. Kept alive by its pending
// operations and by the response's writer. Thread: everything on the connection's strand, but for
// the functions that say "any thread" (they share mutex_). Never: coroutines (g++ 12 miscompiles
// some), a callback or a handler called under the mutex.
#pragma once

#include <array>
#include <atomic>
#include <boost/asio/basic_stream_socket.hpp>
#include <boost/asio/basic_waitable_timer.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/strand.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/http/parser.hpp>
#include <boost/beast/http/string_body.hpp>
#include <condition_variable>
#include <mutex>
#include <optional>
#include <unordered_map>

#include "net/http_server.h"

namespace lorry::net {

class HttpConnection;

// What the connections of a server share.
struct HttpServerContext {
  HttpServerContext(HttpServerOptions options, HttpHandler handler, HttpErrorFormatter format_error)
      : options(std::move(options)),
        handler(std::move(handler)),
        format_error(std::move(format_error)) {}

  const HttpServerOptions options;
  const HttpHandler handler;
  const HttpErrorFormatter format_error;
  boost::asio::io_context io;
  std::atomic<bool> draining = false;
  std::atomic<uint64_t> last_request_id = 0;

  // Any thread.
  int Add(const std::shared_ptr<HttpConnection>& connection);  // how many there are with it
  void Remove(HttpConnection* connection);
  std::vector<std::shared_ptr<HttpConnection>> Connections() const;
  int num_connections() const;
  bool WaitUntilNone(std::chrono::milliseconds limit);

 private:
  mutable std::mutex mutex_;
  std::condition_variable none_left_;
  std::unordered_map<HttpConnection*, std::weak_ptr<HttpConnection>> connections_;
};

class HttpConnection : public std::enable_shared_from_this<HttpConnection> {
 public:
  using Strand = boost::asio::strand<boost::asio::io_context::executor_type>;
  using Socket = boost::asio::basic_stream_socket<boost::asio::ip::tcp, Strand>;

  HttpConnection(std::shared_ptr<HttpServerContext> context, Socket socket);
  ~HttpConnection();

  // Any thread. Serve reads requests; Refuse answers 503 to whatever comes and closes.
  void Serve();
  void Refuse();
  void CloseIfIdle();
  void Abort();  // closes with a reset: what was sent is not whole

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
  using Parser = boost::beast::http::request_parser<boost::beast::http::string_body>;
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
  bool ParseSome();  // false: needs more bytes, or a request was dispatched or refused
  bool OnHeader();   // false: the request was refused
  void Dispatch();
  void RefuseRequest(int status, std::string_view message);
  void RefuseMalformed(ErrorCode error);

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

  std::array<char, 16 << 10> received_;  // of a pending read, which may outlast parsing
  boost::beast::flat_buffer input_;      // received, not yet parsed
  std::optional<Parser> parser_;
  bool reading_ = false;    // an async_read_some is pending
  bool input_end_ = false;  // the client has shut down its side
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
  bool response_complete_ = false;
  bool close_after_ = false;
  bool gone_ = false;    // nothing can be sent any more
  bool closed_ = false;  // and on_closed_ has been called
  std::function<void()> on_closed_;
};

}  // namespace lorry::net
