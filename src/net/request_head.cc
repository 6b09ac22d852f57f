#include "net/request_head.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>

#include "base/ascii.h"

namespace lorry::net {
namespace {

namespace http = boost::beast::http;

// Each costs some hundred bytes, however short it is.
constexpr size_t kMaxFields = 256;
constexpr size_t kMaxMethodBytes = 64;  // that are looked at

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

tl::unexpected<HttpRefusal> Refuse(int status, std::string message) {
  return tl::unexpected(HttpRefusal{.status = status, .message = std::move(message)});
}

}  // namespace

size_t HeaderEnd(std::string_view bytes, size_t num_searched) {
  // The end may have begun among the bytes that were searched: "\r\n\r" is three of its four.
  const char* const end = bytes.data() + bytes.size();
  const char* at = bytes.data() + (num_searched > 3 ? num_searched - 3 : 0);
  while (at < end) {
    at = static_cast<const char*>(std::memchr(at, '\n', static_cast<size_t>(end - at)));
    if (at == nullptr) return 0;
    ++at;
    if (at < end && *at == '\n') return static_cast<size_t>(at + 1 - bytes.data());
    if (at + 1 < end && at[0] == '\r' && at[1] == '\n') {
      return static_cast<size_t>(at + 2 - bytes.data());
    }
  }
  return 0;
}

bool MayBeginRequest(std::string_view bytes) {
  const std::string_view method = bytes.substr(0, std::min(bytes.find(' '), kMaxMethodBytes));
  return std::ranges::all_of(method, [](char c) {
    return IsAsciiAlphanumeric(c) ||
           std::string_view("!#$%&'*+-.^_`|~").find(c) != std::string_view::npos;
  });
}

tl::expected<HttpRequest, HttpRefusal> ReadHead(const http::request_header<>& header) {
  HttpRequest request;
  request.method = std::string(header.method_string());
  size_t num_fields = 0, num_hosts = 0, num_encodings = 0;
  bool is_chunked = false;
  for (const auto& field : header) {
    if (++num_fields > kMaxFields) {
      return Refuse(431, fmt::format("the header has more than {} fields", kMaxFields));
    }
    if (field.name() == http::field::host) ++num_hosts;
    if (field.name() == http::field::transfer_encoding) {
      ++num_encodings;
      is_chunked = EqualIgnoringCase(field.value(), "chunked");
    }
    request.headers.Add(std::string(field.name_string()), std::string(field.value()));
  }
  const bool is_http_1_0 = header.version() < 11;
  // Where the body ends must be beyond doubt, or its rest would be taken for a request.
  if (num_encodings > 0 && (num_encodings > 1 || is_http_1_0 || !is_chunked)) {
    return Refuse(501, "the only Transfer-Encoding understood is chunked, of HTTP/1.1");
  }
  if (num_hosts > 1 || (num_hosts == 0 && !is_http_1_0)) {
    return Refuse(400, "a request needs one Host header");
  }
  if (!SplitTarget(std::string_view(header.target().data(), header.target().size()), request)) {
    return Refuse(400, "the request's target is not a path");
  }
  return request;
}

}  // namespace lorry::net
