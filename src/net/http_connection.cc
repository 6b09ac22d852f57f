#include "net/http_connection.h"

#include <fmt/format.h>

#include <algorithm>
#include <boost/asio/post.hpp>
#include <boost/beast/http/error.hpp>
#include <cstring>

#include "base/ascii.h"
#include "base/log.h"
#include "net/http_response.h"
#include "net/request_head.h"

namespace lorry::net {
namespace {

namespace asio = boost::asio;
namespace http = boost::beast::http;

constexpr size_t kChunkSizeDigits =
    8;  // "0000001a\r\n": room that is filled in when the chunk's size is known
constexpr std::chrono::milliseconds kLingerTime{2'000};
constexpr size_t kMaxLingerBytes = 64 << 20;
// Of one read: what each connection holds, idle or not, and what a body may have that comes fast.
constexpr size_t kNewcomerReadBytes = 2 << 10;
constexpr size_t kSmallReadBytes = 4 << 10;
constexpr size_t kLargeReadBytes = 64 << 10;
constexpr std::string_view kContinue = "HTTP/1.1 100 Continue\r\n\r\n";

std::string AddressOf(const HttpConnection::Socket& socket) {
  boost::system::error_code error;
  const auto endpoint = socket.remote_endpoint(error);
  if (error) return "";
  const std::string address = endpoint.address().to_string(error);
  return endpoint.address().is_v6() ? fmt::format("[{}]:{}", address, endpoint.port())
                                    : fmt::format("{}:{}", address, endpoint.port());
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
  if (state_ == State::kDead) return;
  Release(held_);
  Release(held_unread_);
  context_->connections.Remove(this);
}

void HttpConnection::Serve() {
  asio::post(socket_.get_executor(), [self = shared_from_this()] {
    if (self->context_->draining) return self->Die(/*reset=*/false);
    self->SetReadDeadline(self->context_->options.header_timeout);
    self->ArmTimer();
    self->ReadMore();
  });
}

void HttpConnection::CloseIfIdle() {
  asio::post(socket_.get_executor(), [self = shared_from_this()] {
    if (self->state_ == State::kIdle) self->Die(/*reset=*/false);
  });
}

void HttpConnection::Dismiss() {
  asio::post(socket_.get_executor(), [self = shared_from_this()] {
    if (self->is_admitted_) return;  // in the last moment
    if (self->state_ == State::kHeader || self->state_ == State::kBody) {
      self->Refuse(503, "too many connections that have not shown a key: this one was the oldest");
    } else {
      self->Die(/*reset=*/false);
    }
  });
}

void HttpConnection::GiveUp(const SharedBytes* bytes) {
  asio::post(socket_.get_executor(), [self = shared_from_this(), bytes] {
    if (self->held_unread_ == bytes) return self->Die(/*reset=*/true);
    if (self->held_ != bytes) return;  // it is complete by now
    self->Refuse(503, fmt::format("unfinished requests hold more than {} bytes together, and this "
                                  "one was the oldest: try again later",
                                  bytes->max_bytes()));
  });
}

void HttpConnection::Abort() {
  std::lock_guard lock(mutex_);
  if (gone_) return;
  gone_ = true;
  asio::post(socket_.get_executor(), [self = shared_from_this()] { self->Die(/*reset=*/true); });
}

// ---- Input ----

size_t HttpConnection::NextReadBytes() const {
  if (state_ != State::kBody || parser_->get().body().is_dropped) {
    return is_admitted_ ? kSmallReadBytes : kNewcomerReadBytes;
  }
  return was_filled_ ? std::min(4 * received_bytes_, kLargeReadBytes) : received_bytes_;
}

void HttpConnection::ReadMore() {
  // While a handler has the request, reading goes on, since it is how a hang-up shows; what comes
  // is the next request.
  const size_t max_ahead = is_admitted_ ? context_->options.max_header_bytes : kNewcomerReadBytes;
  const bool full = state_ == State::kResponding && input_.size() >= max_ahead;
  if (reading_ || input_end_ || full || state_ == State::kDead) return;
  reading_ = true;
  if (const size_t num_bytes = NextReadBytes(); num_bytes != received_bytes_) {
    received_ = std::make_unique_for_overwrite<char[]>(num_bytes);
    received_bytes_ = num_bytes;
  }
  socket_.async_read_some(asio::buffer(received_.get(), received_bytes_),
                          [self = shared_from_this()](ErrorCode error, size_t num_bytes) {
                            self->OnRead(error, num_bytes);
                          });
}

void HttpConnection::OnRead(ErrorCode error, size_t num_bytes) {
  reading_ = false;
  if (state_ == State::kDead) return;
  if (error) return OnInputEnd(error);
  was_filled_ = num_bytes == received_bytes_;
  if (state_ == State::kLingering) {
    num_dropped_bytes_ += num_bytes;
    if (num_dropped_bytes_ > kMaxLingerBytes) return Die(/*reset=*/true);
  } else {
    std::memcpy(input_.prepare(num_bytes).data(), received_.get(), num_bytes);
    input_.commit(num_bytes);
    if (state_ != State::kResponding) ParseInput();
  }
  ReadMore();
}

void HttpConnection::OnInputEnd(ErrorCode error) {
  input_end_ = true;
  if (error == asio::error::eof && state_ == State::kResponding) return OnHalfClose();
  Die(/*reset=*/false);
}

// The client has closed its sending half, or all of it: that looks the same until something is
// sent, which a closed one answers with a reset. So an answer that has not begun is preceded by an
// interim one, which every client of HTTP/1.1 passes over.
void HttpConnection::OnHalfClose() {
  {
    std::lock_guard lock(mutex_);
    if (response_complete_) return;  // Send closes after it
    if (!response_begun_ && !is_http_1_0_) {
      queue_.append(kContinue);
      ScheduleSend();
    }
  }
  if (std::exchange(awaits_reset_, true)) return;
  socket_.async_wait(Socket::wait_error, [self = shared_from_this()](ErrorCode error) {
    if (!error) self->Die(/*reset=*/true);
  });
}

void HttpConnection::ParseInput() {
  while (input_.size() > 0 && ParseSome()) {
  }
  if (state_ == State::kHeader || state_ == State::kBody) ArmTimer();
  Account();
}

bool HttpConnection::ParseSome() {
  if (state_ == State::kIdle) {
    const auto* bytes = static_cast<const char*>(input_.data().data());
    if (*bytes == '\r' || *bytes == '\n') {  // a blank line before a request: RFC 9112, section 2.2
      input_.consume(1);
      return true;
    }
    state_ = State::kHeader;
    num_searched_ = 0;
    is_head_ = false;
    request_ = {};
    SetReadDeadline(context_->options.header_timeout);
  }
  return state_ == State::kHeader ? ParseHeader() : ParseBody();
}

bool HttpConnection::ParseHeader() {
  const size_t max_bytes = context_->options.max_header_bytes;
  const std::string_view bytes(static_cast<const char*>(input_.data().data()), input_.size());
  // The parser gets the header whole: of pieces it would keep more than they have.
  const size_t num_bytes = HeaderEnd(bytes, num_searched_);
  num_searched_ = bytes.size();
  if (num_bytes == 0 && !MayBeginRequest(bytes)) return Refuse(400, "malformed request");
  if (num_bytes == 0 && bytes.size() <= max_bytes) return false;
  if (num_bytes == 0) return RefuseMalformed(http::error::header_limit);
  parser_.emplace();
  parser_->header_limit(static_cast<uint32_t>(max_bytes));
  parser_->body_limit(boost::none);  // it depends on the verdict
  ErrorCode error;
  input_.consume(parser_->put(asio::buffer(bytes.data(), num_bytes), error));
  if (error) return RefuseMalformed(error);
  if (!parser_->is_header_done()) return Refuse(400, "malformed request");
  return OnHeader();
}

bool HttpConnection::ParseBody() {
  ErrorCode error;
  input_.consume(parser_->put(input_.data(), error));
  const bool needs_more = error == http::error::need_more;
  if (error && !needs_more) return RefuseMalformed(error);
  if (parser_->is_done()) {
    Dispatch();
    return false;
  }
  // An endless chunk extension.
  if (needs_more && input_.size() > context_->options.max_header_bytes) {
    return Refuse(400, "malformed request");
  }
  return !needs_more;
}

bool HttpConnection::OnHeader() {
  const HttpServerOptions& options = context_->options;
  state_ = State::kBody;
  SetReadDeadline(options.body_timeout);
  const auto& header = parser_->get();
  const bool has_body = !parser_->is_done();
  is_http_1_0_ = header.version() < 11;
  is_head_ = header.method() == http::verb::head;
  keep_alive_ = header.keep_alive() && options.keep_alive;
  auto request = ReadHead(header);
  if (!request) return Refuse(std::move(request.error()));
  request_ = std::move(*request);
  request_.remote_address = remote_address_;
  request_.id = ++context_->last_request_id;

  const HttpVerdict verdict = context_->judge ? context_->judge(request_, has_body) : HttpVerdict{};
  if (verdict.refusal) {
    Answer(*verdict.refusal, /*close=*/has_body || !keep_alive_ || context_->draining);
    return false;
  }
  if (verdict.admits && !is_admitted_) {
    is_admitted_ = context_->connections.Admit(this);
    if (!is_admitted_) {
      return Refuse(503, fmt::format("too many connections (limit {}): try again later",
                                     options.max_connections));
    }
  }
  if (!has_body) {
    Dispatch();
    return false;
  }
  max_body_bytes_ = std::min(options.max_body_bytes, verdict.max_body_bytes);
  if (parser_->content_length().value_or(0) > max_body_bytes_) {
    return RefuseMalformed(http::error::body_limit);
  }
  parser_->body_limit(max_body_bytes_);
  parser_->get().body().is_dropped = !verdict.keeps_body;
  parser_->eager(true);
  if (!is_http_1_0_ && EqualIgnoringCase(header[http::field::expect], "100-continue")) {
    std::lock_guard lock(mutex_);
    queue_.append(kContinue);
    ScheduleSend();
  }
  return true;
}

void HttpConnection::Dispatch() {
  state_ = State::kResponding;
  read_by_ = TimePoint::max();
  HttpRequest request = std::move(request_);
  request.body = std::move(parser_->get().body().text);
  parser_.reset();
  const ResponseForm form = {
      .head_only = is_head_, .http_1_0 = is_http_1_0_, .keep_alive = keep_alive_};
  auto writer = std::make_shared<HttpResponseWriter>(shared_from_this(), form);
  try {
    context_->handler(std::move(request), std::move(writer));
  } catch (const std::exception& e) {  // the writer, dropped unanswered, has sent a 500
    log::Error("a request from {} was not answered: {}", remote_address_, e.what());
  }
  // The last of several requests, after which the client has closed.
  if (input_end_ && state_ == State::kResponding) OnHalfClose();
}

bool HttpConnection::Refuse(HttpRefusal refusal) {
  refusal.remote_address = remote_address_;
  if (parser_) refusal.method = std::string(parser_->get().method_string());
  if (state_ == State::kBody) refusal.path = request_.path;
  Answer(context_->format_error(refusal), /*close=*/true);
  return false;
}

bool HttpConnection::RefuseLength(int status, std::string_view what, size_t limit_bytes) {
  HttpRefusal refusal = {.status = status};
  refusal.message = fmt::format("the {} is larger than {} bytes", what, limit_bytes);
  refusal.limit_bytes = limit_bytes;
  return Refuse(std::move(refusal));
}

bool HttpConnection::RefuseMalformed(ErrorCode error) {
  if (error == http::error::header_limit) {
    return RefuseLength(431, "header", context_->options.max_header_bytes);
  }
  if (error == http::error::body_limit) return RefuseLength(413, "body", max_body_bytes_);
  if (error == http::error::bad_version) {
    return Refuse(505, "only HTTP/1.0 and HTTP/1.1 are spoken here");
  }
  return Refuse(400, fmt::format("malformed request: {}", error.message()));
}

void HttpConnection::Answer(const HttpResponse& response, bool close) {
  state_ = State::kResponding;
  read_by_ = TimePoint::max();
  parser_.reset();
  if (close) input_ = {};  // nothing of it will be read
  Account();
  QueueHead(FormatResponse(
      response, {.head_only = is_head_, .http_1_0 = is_http_1_0_, .keep_alive = !close}));
  QueueEnd(/*chunked=*/false, close);
}

void HttpConnection::Account() {
  SharedBytes* const kind = state_ == State::kHeader ? &context_->unfinished_headers
                            : state_ == State::kBody ? &context_->unfinished_bodies
                                                     : nullptr;
  if (held_ != kind) Release(held_);
  if (kind == nullptr) {
    if (input_.size() == 0 && input_.capacity() > 2 * kSmallReadBytes) input_ = {};
    return;
  }
  held_ = kind;
  const size_t body_bytes = parser_ ? parser_->get().body().text.capacity() : 0;
  const size_t num_bytes = input_.capacity() + received_bytes_ + body_bytes;
  for (const auto& each : kind->Hold(shared_from_this(), num_bytes)) each->GiveUp(kind);
}

void HttpConnection::AccountUnread() {
  if (is_admitted_) return;
  SharedBytes* const kind = &context_->unread_answers;
  held_unread_ = kind;
  for (const auto& each : kind->Hold(shared_from_this(), sending_.capacity())) each->GiveUp(kind);
}

void HttpConnection::Release(SharedBytes*& held) {
  if (held != nullptr) std::exchange(held, nullptr)->Release(this);
}

// ---- Output ----

bool HttpConnection::QueueHead(std::string_view bytes) {
  std::lock_guard lock(mutex_);
  if (gone_) return false;
  response_begun_ = true;
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
    if (!complete) break;
    response_begun_ = false;
    // A large answer's memory is not the connection's to keep.
    // (A swap, since an assignment from an empty string keeps it.)
    if (sending_.capacity() > 2 * kSmallReadBytes) std::string().swap(sending_);
    if (queue_.capacity() > 2 * kSmallReadBytes) std::string().swap(queue_);
    break;
  }
  write_by_ = TimePoint::max();
  Release(held_unread_);
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
  AccountUnread();
  socket_.async_wait(Socket::wait_write, [self = shared_from_this()](ErrorCode) { self->Send(); });
  return false;
}

void HttpConnection::OnResponseSent() {
  bool close;
  {
    std::lock_guard lock(mutex_);
    close = close_after_;
  }
  // A newcomer's requests come one at a time, or a thousand answers would cost it one packet.
  if (close || (!is_admitted_ && input_.size() > 0)) return Linger();
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
      Refuse(408, "the request's header took too long to arrive");
      return;
    case State::kBody:
      Refuse(408, "the request's body took too long to arrive");
      return;
    default:
      return Die(/*reset=*/false);
  }
}

void HttpConnection::Linger() {
  ErrorCode ignored;
  socket_.shutdown(Socket::shutdown_send, ignored);
  if (input_end_) return Die(/*reset=*/false);
  state_ = State::kLingering;
  input_ = {};
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
  Release(held_);
  Release(held_unread_);
  context_->connections.Remove(this);
  if (on_closed) on_closed();
}

}  // namespace lorry::net
