#include "net/http_client.h"

#include <fmt/format.h>
#include <netdb.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <boost/asio/buffer.hpp>
#include <boost/beast/http/error.hpp>
#include <boost/beast/http/parser.hpp>
#include <boost/beast/http/string_body.hpp>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <limits>
#include <memory>
#include <utility>

#include "net/sse.h"

namespace lorry::net {
namespace {

namespace http = boost::beast::http;
using Clock = std::chrono::steady_clock;

constexpr size_t kReceiveBytes = 64 << 10;
constexpr uint32_t kMaxHeaderBytes = 256 << 10;

// Waits until the socket is ready for `events`; false: not before the deadline.
bool WaitFor(int fd, short events, Clock::time_point deadline) {
  while (true) {
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(deadline - Clock::now()).count();
    if (left <= 0) return false;
    pollfd entry = {fd, events, 0};
    const int num_ready =
        poll(&entry, 1, static_cast<int>(std::min<int64_t>(left, std::numeric_limits<int>::max())));
    if (num_ready > 0) return true;
    if (num_ready < 0 && errno != EINTR)
      return true;  // the operation itself will say what is wrong
  }
}

tl::unexpected<Error> FailErrno(std::string_view what, const std::string& host, int port) {
  return Fail(ErrorCode::kUnavailable,
              fmt::format("{} {}:{}: {}", what, host, port, std::strerror(errno)));
}

std::string FormatRequest(const HttpCall& call, const std::string& host, int port) {
  const bool is_ipv6 = host.find(':') != std::string::npos;
  std::string out = fmt::format("{} {} HTTP/1.1\r\nHost: {}{}{}:{}\r\n", call.method, call.target,
                                is_ipv6 ? "[" : "", host, is_ipv6 ? "]" : "", port);
  for (const auto& [name, value] : call.headers) {
    out.append(name).append(": ").append(value).append("\r\n");
  }
  if (!call.body.empty() || (call.method != "GET" && call.method != "HEAD")) {
    out.append(fmt::format("Content-Length: {}\r\n", call.body.size()));
  }
  return out.append("\r\n").append(call.body);
}

}  // namespace

Result<HttpUrl> ParseHttpUrl(std::string_view url) {
  const std::string_view whole = url;
  const auto bad = [whole](std::string_view why) {
    return Fail(ErrorCode::kInvalidArgument, fmt::format("'{}' is not a URL: {}", whole, why),
                "url");
  };
  if (url.starts_with("https://")) {
    return Fail(ErrorCode::kUnsupported, fmt::format("'{}': only http:// is supported", whole),
                "url");
  }
  if (!url.starts_with("http://")) return bad("it has to start with http://");
  url.remove_prefix(7);
  HttpUrl parsed;
  const size_t path_start = std::min(url.find('/'), url.size());
  parsed.path = url.substr(path_start);
  while (parsed.path.ends_with('/')) parsed.path.pop_back();
  std::string_view authority = url.substr(0, path_start);

  if (authority.starts_with('[')) {
    const size_t end = authority.find(']');
    if (end == std::string_view::npos) return bad("a ']' is missing");
    parsed.host = authority.substr(1, end - 1);
    authority.remove_prefix(end + 1);
  } else {
    const size_t end = std::min(authority.find(':'), authority.size());
    parsed.host = authority.substr(0, end);
    authority.remove_prefix(end);
  }
  if (parsed.host.empty()) return bad("it names no host");
  if (authority.empty()) return parsed;
  const char* const last = authority.data() + authority.size();
  const auto [end, error] = std::from_chars(authority.data() + 1, last, parsed.port);
  if (authority[0] != ':' || error != std::errc() || end != last || parsed.port < 1 ||
      parsed.port > 65535) {
    return bad("the port is not a number from 1 to 65535");
  }
  return parsed;
}

HttpClient::HttpClient(std::string host, int port) : host_(std::move(host)), port_(port) {}

HttpClient::~HttpClient() { Close(); }

HttpClient::HttpClient(HttpClient&& other) noexcept
    : host_(std::move(other.host_)), port_(other.port_), fd_(std::exchange(other.fd_, -1)) {}

HttpClient& HttpClient::operator=(HttpClient&& other) noexcept {
  std::swap(host_, other.host_);
  std::swap(port_, other.port_);
  std::swap(fd_, other.fd_);
  return *this;
}

void HttpClient::Close() {
  if (fd_ >= 0) close(fd_);
  fd_ = -1;
}

Status HttpClient::Connect(Deadline deadline) {
  addrinfo hints = {};
  hints.ai_socktype = SOCK_STREAM;
  addrinfo* found = nullptr;
  const int lookup = getaddrinfo(host_.c_str(), std::to_string(port_).c_str(), &hints, &found);
  if (lookup != 0) {
    return Fail(ErrorCode::kUnavailable,
                fmt::format("cannot find host '{}': {}", host_, gai_strerror(lookup)));
  }
  const std::unique_ptr<addrinfo, decltype(&freeaddrinfo)> addresses(found, &freeaddrinfo);
  for (const addrinfo* address = found; address != nullptr; address = address->ai_next) {
    Close();
    fd_ = socket(address->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd_ < 0) continue;
    if (connect(fd_, address->ai_addr, address->ai_addrlen) != 0) {
      if (errno != EINPROGRESS) continue;
      if (!WaitFor(fd_, POLLOUT, deadline)) {
        Close();
        return Fail(ErrorCode::kDeadline,
                    fmt::format("connecting to {}:{} took too long", host_, port_));
      }
      socklen_t length = sizeof(errno);
      getsockopt(fd_, SOL_SOCKET, SO_ERROR, &errno, &length);
      if (errno != 0) continue;
    }
    const int on = 1;
    setsockopt(fd_, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    return {};
  }
  auto failure = FailErrno("cannot connect to", host_, port_);
  Close();
  return failure;
}

Status HttpClient::SendAll(std::string_view bytes, Deadline deadline) {
  while (!bytes.empty()) {
    const ssize_t num_sent = send(fd_, bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (num_sent >= 0) {
      bytes.remove_prefix(static_cast<size_t>(num_sent));
    } else if (errno == EAGAIN) {
      if (!WaitFor(fd_, POLLOUT, deadline)) {
        return Fail(ErrorCode::kDeadline, "sending the request took too long");
      }
    } else if (errno != EINTR) {
      return FailErrno("cannot send to", host_, port_);
    }
  }
  return {};
}

Result<size_t> HttpClient::Receive(char* into, size_t num_bytes, Deadline deadline) {
  while (true) {
    const ssize_t num_received = recv(fd_, into, num_bytes, 0);
    if (num_received >= 0) return static_cast<size_t>(num_received);
    if (errno == EAGAIN) {
      if (!WaitFor(fd_, POLLIN, deadline)) {
        return Fail(ErrorCode::kDeadline,
                    fmt::format("no answer from {}:{} in time", host_, port_));
      }
    } else if (errno != EINTR) {
      return FailErrno("cannot receive from", host_, port_);
    }
  }
}

Result<HttpResponse> HttpClient::ReadResponse(const HttpCall& call, const OnChunk* on_chunk,
                                              bool& got_bytes) {
  http::response_parser<http::string_body> parser;
  parser.eager(true);
  parser.skip(call.method == "HEAD");
  parser.header_limit(kMaxHeaderBytes);
  parser.body_limit(boost::none);
  std::string input;  // received, not yet parsed
  char received[kReceiveBytes];
  auto deadline = Clock::now() + call.timeout;
  while (!parser.is_done()) {
    ASSIGN_OR_RETURN(const size_t num_bytes, Receive(received, sizeof(received), deadline));
    boost::system::error_code error;
    if (num_bytes == 0) {
      if (!got_bytes) return Fail(ErrorCode::kUnavailable, "the server closed the connection");
      parser.put_eof(error);
      if (error) return Fail(ErrorCode::kUnavailable, "the answer was cut off");
    } else {
      got_bytes = true;
      if (on_chunk != nullptr) deadline = Clock::now() + call.timeout;
      input.append(received, num_bytes);
      while (!input.empty() && !parser.is_done() && !error) {
        input.erase(0, parser.put(boost::asio::buffer(input), error));
        if (parser.is_header_done() && parser.get().result_int() / 100 == 1) {  // 100 Continue
          return Fail(ErrorCode::kDataLoss, "an interim answer that was not asked for");
        }
      }
      if (error && error != http::error::need_more) {
        return Fail(ErrorCode::kDataLoss, fmt::format("not an HTTP answer: {}", error.message()));
      }
    }
    std::string& body = parser.get().body();
    if (on_chunk != nullptr && !body.empty() && parser.get().result_int() / 100 == 2) {
      if (!(*on_chunk)(body)) return Fail(ErrorCode::kCancelled, "stopped by the caller");
      body.clear();
    }
    if (body.size() > call.max_body_bytes) {
      return Fail(ErrorCode::kTooLarge,
                  fmt::format("the answer's body is over {} bytes long", call.max_body_bytes));
    }
  }
  HttpResponse response = {.status = static_cast<int>(parser.get().result_int()),
                           .headers = {},
                           .body = std::move(parser.get().body())};
  for (const auto& field : parser.get()) {
    response.headers.Add(std::string(field.name_string()), std::string(field.value()));
  }
  if (!parser.keep_alive()) Close();
  return response;
}

Result<HttpResponse> HttpClient::Call(const HttpCall& call, const OnChunk* on_chunk) {
  const std::string request = FormatRequest(call, host_, port_);
  const auto deadline = Clock::now() + call.timeout;
  while (true) {
    const bool reused = connected();
    bool got_bytes = false;
    Status sent = reused ? Status() : Connect(deadline);
    if (sent) sent = SendAll(request, deadline);
    Result<HttpResponse> response =
        sent ? ReadResponse(call, on_chunk, got_bytes) : tl::unexpected(sent.error());
    if (response) return response;
    Close();
    // An idle connection may be closed by the server at any time, and this is how it shows.
    const bool stale = reused && !got_bytes && response.error().code == ErrorCode::kUnavailable;
    if (!stale) return response;
  }
}

Result<HttpResponse> HttpClient::Send(const HttpCall& call) { return Call(call, nullptr); }

Result<HttpResponse> HttpClient::Stream(const HttpCall& call,
                                        const std::function<bool(std::string_view)>& on_chunk) {
  return Call(call, &on_chunk);
}

Result<HttpResponse> HttpClient::StreamEvents(
    const HttpCall& call, const std::function<bool(std::string_view)>& on_data) {
  SseParser parser;
  return Stream(call, [&](std::string_view chunk) { return parser.Feed(chunk, on_data); });
}

}  // namespace lorry::net
