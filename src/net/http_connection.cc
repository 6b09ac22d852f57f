#include "net/http_connection.h"

#include <fmt/format.h>

#include <algorithm>
#include <boost/asio/post.hpp>
#include <boost/beast/http/error.hpp>
#include <cstring>

#include "base/log.h"
#include "net/http_response.h"

namespace lorry::net {
namespace {

namespace asio = boost::asio;
namespace http = boost::beast::http;

constexpr size_t kChunkSizeDigits =
    8;  // "0000001a\r\n": room that is filled in when the chunk's size is known
constexpr std::chrono::milliseconds kLingerTime{2'000};
constexpr size_t kMaxLingerBytes = 64 << 20;

std::string AddressOf(const HttpConnection::Socket& socket) {
  boost::system::error_code error;
  const auto endpoint = socket.remote_endpoint(error);
  if (error) return "";
  const std::string address = endpoint.address().to_string(error);
  return endpoint.address().is_v6() ? fmt::format("[{}]:{}", address, endpoint.port())
                                    : fmt::format("{}:{}", address, endpoint.port());
}

// Splits a request's target (origin form, absolute form or "*"); false: none of them.
bool SplitTarget(std::string_view target, HttpRequest& request) {
  if (target.starts_with("http://")) {  // as proxies send it
    const size_t path_start = target.find_first_of("/?", 7);
    target = path_start == std::string_view::npos ? "/" : target.substr(path_start);
    if (target.starts_with('?')) return false;
  }
  if (!target.starts_with('/') && target != "*") return false;
  target = target.substr(0, target.find('#'));
  const size_t path_end = std::min(target.find('?'), target.size());
  std::optional<std::string> path = PercentDecode(target.substr(0, path_end));
  if (!path) return false;
  request.path = std::move(*path);
  request.query = target.substr(std::min(target.size(), path_end + 1));
  return true;
}

}  // namespace

HttpConnection::HttpConnection(std::shared_ptr<HttpServerContext> context, Socket socket)
    : context_(std::move(context)),
      socket_(std::move(socket)),
      timer_(socket_.get_executor()),
      remote_address_(AddressOf(socket_)) {
  ErrorCode error;  // a connection that cannot take the options will fail at its first read
  socket_.non_blocking(true, error);
  socket_.set_option(asio::ip::tcp::no_delay(true), error);
}

HttpConnection::~HttpConnection() {
  if (state_ != State::kDead) context_->Remove(this);
}

void HttpConnection::Serve() {
  asio::post(socket_.get_executor(), [self = shared_from_this()] {
    if (self->context_->draining) return self->Die(/*reset=*/false);
    self->SetReadDeadline(self->context_->options.header_timeout);
    self->ArmTimer();
    self->ReadMore();
  });
}

void HttpConnection::Refuse() {
  asio::post(socket_.get_executor(), [self = shared_from_this()] {
    self->RefuseRequest(503, fmt::format("too many connections (limit {}): try again later",
                                         self->context_->options.max_connections));
    self->ReadMore();
  });
}

void HttpConnection::CloseIfIdle() {
  asio::post(socket_.get_executor(), [self = shared_from_this()] {
    if (self->state_ == State::kIdle) self->Die(/*reset=*/false);
  });
}

void HttpConnection::Abort() {
  std::lock_guard lock(mutex_);
  if (gone_) return;
  gone_ = true;
  asio::post(socket_.get_executor(), [self = shared_from_this()] { self->Die(/*reset=*/true); });
}

// ---- Input ----

void HttpConnection::ReadMore() {
  // While a handler has the request, reading goes on, since it is how a hang-up shows; what comes
  // is the next request.
  const bool full =
      state_ == State::kResponding && input_.size() >= context_->options.max_header_bytes;
  if (reading_ || input_end_ || full || state_ == State::kDead) return;
  reading_ = true;
  socket_.async_read_some(asio::buffer(received_),
                          [self = shared_from_this()](ErrorCode error, size_t num_bytes) {
                            self->OnRead(error, num_bytes);
                          });
}

void HttpConnection::OnRead(ErrorCode error, size_t num_bytes) {
  reading_ = false;
  if (state_ == State::kDead) return;
  if (error) return OnInputEnd(error);
  if (state_ == State::kLingering) {
    num_dropped_bytes_ += num_bytes;
    if (num_dropped_bytes_ > kMaxLingerBytes) return Die(/*reset=*/true);
  } else {
    std::memcpy(input_.prepare(num_bytes).data(), received_.data(), num_bytes);
    input_.commit(num_bytes);
    if (state_ != State::kResponding) ParseInput();
  }
  ReadMore();
}

void HttpConnection::OnInputEnd(ErrorCode error) {
  input_end_ = true;
  if (error == asio::error::eof && state_ == State::kResponding) {
    std::lock_guard lock(mutex_);
    if (response_complete_) return;  // it was on its way: Send closes after it
  }
  Die(/*reset=*/false);
}

void HttpConnection::ParseInput() {
  while (input_.size() > 0 && ParseSome()) {
  }
  if (state_ == State::kHeader || state_ == State::kBody) ArmTimer();
}

bool HttpConnection::ParseSome() {
  const HttpServerOptions& options = context_->options;
  if (state_ == State::kIdle) {
    const auto* bytes = static_cast<const char*>(input_.data().data());
    if (*bytes == '\r' || *bytes == '\n') {  // a blank line before a request: RFC 9112, section 2.2
      input_.consume(1);
      return true;
    }
    state_ = State::kHeader;
    SetReadDeadline(options.header_timeout);
    parser_.emplace();
    parser_->eager(true);
    parser_->header_limit(static_cast<uint32_t>(options.max_header_bytes));
    parser_->body_limit(options.max_body_bytes);
  }
  ErrorCode error;
  input_.consume(parser_->put(input_.data(), error));
  const bool needs_more = error == http::error::need_more;
  if (error && !needs_more) {
    RefuseMalformed(error);
    return false;
  }
  if (state_ == State::kHeader && parser_->is_header_done() && !OnHeader()) return false;
  if (parser_->is_done()) {
    Dispatch();
    return false;
  }
  if (needs_more && input_.size() > options.max_header_bytes) {  // an endless chunk extension
    RefuseRequest(400, "malformed request");
    return false;
  }
  return !needs_more;
}

bool HttpConnection::OnHeader() {
  state_ = State::kBody;
  SetReadDeadline(context_->options.body_timeout);
  const auto& header = parser_->get();
  // Where the body ends must be beyond doubt, or its rest would be taken for a request.
  const size_t num_encodings = header.count(http::field::transfer_encoding);
  if (num_encodings > 0 &&
      (num_encodings > 1 || header.version() < 11 ||
       !boost::beast::iequals(header[http::field::transfer_encoding], "chunked"))) {
    RefuseRequest(501, "the only Transfer-Encoding understood is chunked, of HTTP/1.1");
    return false;
  }
  if (!parser_->is_done() && header.version() >= 11 &&
      boost::beast::iequals(header[http::field::expect], "100-continue")) {
    QueueHead("HTTP/1.1 100 Continue\r\n\r\n");
  }
  return true;
}

void HttpConnection::Dispatch() {
  state_ = State::kResponding;
  read_by_ = TimePoint::max();
  auto& message = parser_->get();
  const bool http_1_0 = message.version() < 11;
  HttpRequest request;
  const size_t num_hosts = message.count(http::field::host);
  if (num_hosts > 1 || (num_hosts == 0 && !http_1_0)) {
    return RefuseRequest(400, "a request needs one Host header");
  }
  if (!SplitTarget(std::string_view(message.target().data(), message.target().size()), request)) {
    return RefuseRequest(400, "the request's target is not a path");
  }
  request.method = std::string(message.method_string());
  request.body = std::move(message.body());
  for (const auto& field : message) {
    request.headers.Add(std::string(field.name_string()), std::string(field.value()));
  }
  request.remote_address = remote_address_;
  request.id = ++context_->last_request_id;

  const ResponseForm form = {
      .head_only = message.method() == http::verb::head,
      .http_1_0 = http_1_0,
      .keep_alive = message.keep_alive() && context_->options.keep_alive,
  };
  parser_.reset();
  auto writer = std::make_shared<HttpResponseWriter>(shared_from_this(), form);
  try {
    context_->handler(std::move(request), std::move(writer));
  } catch (const std::exception& e) {  // the writer, dropped unanswered, has sent a 500
    log::Error("a request from {} was not answered: {}", remote_address_, e.what());
  }
  if (input_end_ &&
      state_ == State::kResponding) {  // the last of several requests, and the client is gone
    OnInputEnd(asio::error::eof);
  }
}

void HttpConnection::RefuseRequest(int status, std::string_view message) {
  state_ = State::kResponding;
  read_by_ = TimePoint::max();
  parser_.reset();
  QueueHead(FormatResponse(context_->format_error(status, message), {.keep_alive = false}));
  QueueEnd(/*chunked=*/false, /*close=*/true);
}

void HttpConnection::RefuseMalformed(ErrorCode error) {
  const HttpServerOptions& options = context_->options;
  if (error == http::error::header_limit) {
    return RefuseRequest(
        431, fmt::format("the header is larger than {} bytes", options.max_header_bytes));
  }
  if (error == http::error::body_limit) {
    return RefuseRequest(413,
                         fmt::format("the body is larger than {} bytes", options.max_body_bytes));
  }
  if (error == http::error::bad_version) {
    return RefuseRequest(505, "only HTTP/1.0 and HTTP/1.1 are spoken here");
  }
  RefuseRequest(400, fmt::format("malformed request: {}", error.message()));
}

// ---- Output ----

bool HttpConnection::QueueHead(std::string_view bytes) {
  std::lock_guard lock(mutex_);
  if (gone_) return false;
  queue_.append(bytes);
  ScheduleSend();
  return true;
}

bool HttpConnection::QueueChunk(std::string_view bytes, bool chunked) {
  std::lock_guard lock(mutex_);
  if (gone_) return false;
  if (queue_.size() + num_sending_ > context_->options.max_queued_bytes) {
    gone_ = true;
    asio::post(socket_.get_executor(), [self = shared_from_this()] { self->Die(/*reset=*/true); });
    return false;
  }
  if (chunked && chunk_start_ == std::string::npos) {
    chunk_start_ = queue_.size();
    queue_.append(kChunkSizeDigits, '0').append("\r\n");
  }
  queue_.append(bytes);
  ScheduleSend();
  return true;
}

void HttpConnection::QueueEnd(bool chunked, bool close) {
  std::function<void()> dropped;  // destroyed after the lock: it may hold the response's writer
  std::lock_guard lock(mutex_);
  if (gone_) return;
  dropped.swap(on_closed_);
  if (chunk_start_ != std::string::npos) CloseChunk();
  if (chunked) queue_.append("0\r\n\r\n");
  response_complete_ = true;
  close_after_ = close;
  ScheduleSend();
}

void HttpConnection::CloseChunk() {
  const size_t num_bytes = queue_.size() - chunk_start_ - kChunkSizeDigits - 2;
  fmt::format_to_n(queue_.data() + chunk_start_, kChunkSizeDigits, "{:08x}", num_bytes);
  queue_.append("\r\n");
  chunk_start_ = std::string::npos;
}

void HttpConnection::ScheduleSend() {
  if (send_scheduled_) return;
  send_scheduled_ = true;
  asio::post(socket_.get_executor(), [self = shared_from_this()] { self->Send(); });
}

void HttpConnection::Send() {
  if (state_ == State::kDead) return;
  bool complete;
  while (true) {
    if (num_sent_ < sending_.size() && !SendSome()) return;
    if (num_sent_ < sending_.size()) continue;
    sending_.clear();
    num_sent_ = 0;
    std::lock_guard lock(mutex_);
    if (chunk_start_ != std::string::npos) CloseChunk();
    sending_.swap(queue_);
    num_sending_ = sending_.size();
    if (!sending_.empty()) continue;
    send_scheduled_ = false;
    complete = std::exchange(response_complete_, false);
    break;
  }
  write_by_ = TimePoint::max();
  if (complete) OnResponseSent();
}

bool HttpConnection::SendSome() {
  ErrorCode error;
  num_sent_ += socket_.write_some(
      asio::buffer(sending_.data() + num_sent_, sending_.size() - num_sent_), error);
  if (!error) return true;
  if (error != asio::error::would_block && error != asio::error::try_again) {
    Die(/*reset=*/true);
    return false;
  }
  write_by_ = Clock::now() + context_->options.write_timeout;
  ArmTimer();
  socket_.async_wait(Socket::wait_write, [self = shared_from_this()](ErrorCode) { self->Send(); });
  return false;
}

void HttpConnection::OnResponseSent() {
  bool close;
  {
    std::lock_guard lock(mutex_);
    close = close_after_;
  }
  if (close) return Linger();
  state_ = State::kIdle;
  SetReadDeadline(context_->options.idle_timeout);
  ParseInput();
  if (state_ != State::kIdle && state_ != State::kHeader && state_ != State::kBody)
    return ReadMore();
  if (input_end_ || (context_->draining && state_ == State::kIdle)) return Die(/*reset=*/false);
  ArmTimer();
  ReadMore();
}

// ---- Life ----

void HttpConnection::SetOnClosed(std::function<void()> callback) {
  {
    std::lock_guard lock(mutex_);
    if (!closed_) {
      on_closed_.swap(callback);
      return;  // the lock goes before `callback`, which holds the one replaced
    }
  }
  callback();
}

bool HttpConnection::gone() const {
  std::lock_guard lock(mutex_);
  return gone_;
}

void HttpConnection::ArmTimer() {
  const TimePoint at = std::min(read_by_, write_by_);
  if (at >= timer_at_ || state_ == State::kDead) return;
  timer_at_ = at;
  timer_.expires_at(at);
  timer_.async_wait([self = shared_from_this()](ErrorCode error) { self->OnTimer(error); });
}

void HttpConnection::OnTimer(ErrorCode error) {
  if (error || state_ == State::kDead) return;
  timer_at_ = TimePoint::max();
  const TimePoint now = Clock::now();
  if (write_by_ <= now) return Die(/*reset=*/true);
  if (read_by_ <= now) OnReadDeadline();
  ArmTimer();
}

void HttpConnection::OnReadDeadline() {
  switch (state_) {
    case State::kHeader:
      return RefuseRequest(408, "the request's header took too long to arrive");
    case State::kBody:
      return RefuseRequest(408, "the request's body took too long to arrive");
    default:
      return Die(/*reset=*/false);
  }
}

void HttpConnection::Linger() {
  ErrorCode ignored;
  socket_.shutdown(Socket::shutdown_send, ignored);
  if (input_end_) return Die(/*reset=*/false);
  state_ = State::kLingering;
  input_.clear();
  SetReadDeadline(kLingerTime);
  ArmTimer();
  ReadMore();
}

void HttpConnection::Die(bool reset) {
  if (state_ == State::kDead) return;
  state_ = State::kDead;
  ErrorCode ignored;
  if (reset) socket_.set_option(asio::socket_base::linger(true, 0), ignored);
  socket_.close(ignored);
  timer_.cancel();
  std::function<void()> on_closed;
  {
    std::lock_guard lock(mutex_);
    gone_ = true;
    closed_ = true;
    on_closed.swap(on_closed_);
  }
  context_->Remove(this);
  if (on_closed) on_closed();
}

}  // namespace lorry::net
