#include "server/exchange.h"

#include <algorithm>
#include <random>

#include "api/error_map.h"
#include "base/random.h"

namespace lorry::server {
namespace {

constexpr std::string_view kRequestIdHeader = "x-request-id";
constexpr size_t kMaxRequestIdBytes = 128;
constexpr int kRetryAfterSeconds = 1;

bool IsGoodRequestId(std::string_view id) {
  return !id.empty() && id.size() <= kMaxRequestIdBytes && std::ranges::all_of(id, [](char c) {
    return c > ' ' && c < 127 && c != '"' && c != '\\';
  });
}

// 32 hex digits that nobody can guess from those before: one count for all listeners.
std::string NewRequestId() {
  static std::atomic<uint64_t> last = 0;
  const uint64_t counter = ++last;
  static const std::array<uint32_t, 2> key = [] {
    std::random_device device;
    return std::array<uint32_t, 2>{device(), device()};
  }();
  const auto bits =
      Philox4x32({static_cast<uint32_t>(counter), static_cast<uint32_t>(counter >> 32), 0, 0}, key);
  return fmt::format("{:08x}{:08x}{:08x}{:08x}", bits[0], bits[1], bits[2], bits[3]);
}

std::string RequestIdOf(const net::HttpRequest& request) {
  const auto given = request.headers.Find(kRequestIdHeader);
  if (given && IsGoodRequestId(*given)) return std::string(*given);
  return NewRequestId();
}

// What of a text is short enough for a line of the log.
std::string Beginning(std::string_view text) {
  constexpr size_t kMaxBytes = 200;
  if (text.size() <= kMaxBytes) return std::string(text);
  size_t end = kMaxBytes;
  while (end > 0 && (static_cast<unsigned char>(text[end]) & 0xC0) == 0x80) --end;
  return std::string(text.substr(0, end)) + "…";
}

}  // namespace

Exchange::Exchange(const net::HttpRequest& request, std::shared_ptr<net::ResponseWriter> writer,
                   Journal& journal, const Clock& clock)
    : writer_(std::move(writer)), journal_(journal), clock_(clock) {
  entry_.request_id = RequestIdOf(request);
  entry_.method = request.method;
  entry_.path = request.path;
  entry_.remote_address = request.remote_address;
  entry_.received_us = clock.NowUs();
}

net::HttpResponse Exchange::JsonResponse(int status, std::string body) {
  return {
      .status = status, .headers = {{"Content-Type", "application/json"}}, .body = std::move(body)};
}

void Exchange::Send(net::HttpResponse response) {
  if (is_ended_) return;
  writer_->Send(Close(std::move(response)));
}

net::HttpResponse Exchange::Close(net::HttpResponse response) {
  if (response.status >= 400 && entry_.error_message.empty()) {  // in a form of its own
    entry_.error_code = "error";
    entry_.error_message = Beginning(response.body);
  }
  response.headers.Add(std::string(kRequestIdHeader), entry_.request_id);
  End(response.status);  // first: who has the answer also finds it counted
  return response;
}

void Exchange::SendError(const Error& error) {
  NoteError(error);
  Send(ErrorResponse(error));
}

void Exchange::NoteError(const Error& error) {
  const api::HttpError http = api::HttpErrorOf(error);
  entry_.error_code = http.code.empty() ? http.type : http.code;
  entry_.error_param = Beginning(error.param);
  entry_.error_message = Beginning(error.message);
}

void Exchange::StartEvents() {
  is_streaming_ = true;
  net::HttpHeaders headers = {{"Content-Type", "text/event-stream; charset=utf-8"},
                              {"Cache-Control", "no-cache"},
                              {"X-Accel-Buffering", "no"}};
  headers.Add(std::string(kRequestIdHeader), entry_.request_id);
  writer_->StartStream(200, std::move(headers));
}

bool Exchange::FlushEvents() {
  if (pending_events_.empty()) return true;
  const bool is_taken = writer_->Write(pending_events_);
  pending_events_.clear();
  return is_taken;
}

void Exchange::FinishEvents() {
  if (is_ended_) return;
  FlushEvents();
  End(200);
  writer_->Finish();
}

void Exchange::Abandon() { End(499); }

void Exchange::End(int status) {
  if (is_ended_) return;
  is_ended_ = true;
  entry_.status = status;
  entry_.ended_us = clock_.NowUs();
  journal_.Write(entry_);
}

net::HttpResponse ErrorResponse(const Error& error) {
  net::HttpResponse response =
      Exchange::JsonResponse(api::HttpErrorOf(error).status, api::ErrorBody(error));
  if (response.status == 429 || response.status == 503) {
    response.headers.Add("Retry-After", std::to_string(kRetryAfterSeconds));
  }
  if (response.status == 401 && error.param != "source") {
    response.headers.Add("WWW-Authenticate", "Bearer");
  }
  return response;
}

}  // namespace lorry::server
