#include "net/http_response.h"

#include <fmt/format.h>

#include <algorithm>
#include <ctime>
#include <iterator>

#include "base/ascii.h"

namespace lorry::net {
namespace {

bool IsTokenChar(char c) {
  return IsAsciiAlphanumeric(c) ||
         std::string_view("!#$%&'*+-.^_`|~").find(c) != std::string_view::npos;
}

bool IsFieldChar(char c) { return static_cast<unsigned char>(c) >= 0x20 || c == '\t'; }

// Fields that only the server can know.
bool IsOurs(std::string_view name) {
  for (const std::string_view ours :
       {"content-length", "connection", "transfer-encoding", "date"}) {
    if (EqualIgnoringCase(name, ours)) return true;
  }
  return false;
}

// "Date: ...\r\n", made once a second.
std::string_view DateField() {
  thread_local std::time_t made_at = -1;
  thread_local char field[48];
  thread_local size_t length = 0;
  const std::time_t now = std::time(nullptr);
  if (now != made_at) {
    std::tm utc;
    gmtime_r(&now, &utc);
    length = std::strftime(field, sizeof(field), "Date: %a, %d %b %Y %H:%M:%S GMT\r\n", &utc);
    made_at = now;
  }
  return {field, length};
}

void AppendHead(std::string& out, int status, const HttpHeaders& headers,
                const ResponseForm& form) {
  fmt::format_to(std::back_inserter(out), "HTTP/1.1 {} {}\r\n", status, HttpReason(status));
  for (const auto& [name, value] : headers) {
    // A field that would break the head (a value may hold a client's text) is left out.
    if (name.empty() || IsOurs(name) || !std::ranges::all_of(name, IsTokenChar) ||
        !std::ranges::all_of(value, IsFieldChar)) {
      continue;
    }
    out.append(name).append(": ").append(value).append("\r\n");
  }
  out.append(DateField());
  if (!form.keep_alive) {
    out.append("Connection: close\r\n");
  } else if (form.http_1_0) {
    out.append("Connection: keep-alive\r\n");
  }
}

bool HasNoBody(int status) { return status == 204 || status == 304 || status < 200; }

}  // namespace

std::string FormatResponse(const HttpResponse& response, const ResponseForm& form) {
  std::string out;
  out.reserve(256 + response.body.size());
  AppendHead(out, response.status, response.headers, form);
  if (HasNoBody(response.status)) return out.append("\r\n");
  fmt::format_to(std::back_inserter(out), "Content-Length: {}\r\n\r\n", response.body.size());
  if (!form.head_only) out.append(response.body);
  return out;
}

std::string FormatStreamHead(int status, const HttpHeaders& headers, const ResponseForm& form) {
  std::string out;
  AppendHead(out, status, headers, form);
  if (!form.http_1_0 && !HasNoBody(status)) out.append("Transfer-Encoding: chunked\r\n");
  return out.append("\r\n");
}

HttpResponseWriter::~HttpResponseWriter() {
  if (phase_ == Phase::kStreaming) connection_->Abort();
  if (phase_ == Phase::kUnanswered && !connection_->gone()) {
    Send(connection_->context().format_error({.status = 500,
                                              .message = "the request was not answered",
                                              .method = {},
                                              .path = {},
                                              .remote_address = {}}));
  }
}

void HttpResponseWriter::Send(HttpResponse response) {
  if (phase_ != Phase::kUnanswered) return;
  phase_ = Phase::kDone;
  if (connection_->context().draining) form_.keep_alive = false;
  connection_->QueueHead(FormatResponse(response, form_));
  connection_->QueueEnd(/*chunked=*/false, /*close=*/!form_.keep_alive);
}

void HttpResponseWriter::StartStream(int status, HttpHeaders headers) {
  if (phase_ != Phase::kUnanswered) return;
  phase_ = Phase::kStreaming;
  if (form_.http_1_0 || connection_->context().draining) form_.keep_alive = false;
  if (HasNoBody(status)) form_.head_only = true;
  connection_->QueueHead(FormatStreamHead(status, headers, form_));
}

bool HttpResponseWriter::Write(std::string_view chunk) {
  if (phase_ != Phase::kStreaming) return false;
  if (form_.head_only || chunk.empty()) return !connection_->gone();
  return connection_->QueueChunk(chunk, /*chunked=*/!form_.http_1_0);
}

void HttpResponseWriter::Finish() {
  if (phase_ != Phase::kStreaming) return;
  phase_ = Phase::kDone;
  connection_->QueueEnd(/*chunked=*/!form_.http_1_0 && !form_.head_only,
                        /*close=*/!form_.keep_alive);
}

void HttpResponseWriter::OnClosed(std::function<void()> callback) {
  if (phase_ != Phase::kDone) connection_->SetOnClosed(std::move(callback));
}

}  // namespace lorry::net
