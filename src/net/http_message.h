// What goes over HTTP, as values: no sockets, no Beast.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace lorry::net {

// Header fields in the order they came; names compare without regard to case.
class HttpHeaders {
 public:
  HttpHeaders() = default;
  HttpHeaders(std::initializer_list<std::pair<std::string, std::string>> fields)
      : fields_(fields) {}

  void Add(std::string name, std::string value) {
    fields_.emplace_back(std::move(name), std::move(value));
  }
  // The first field of that name; nullopt: there is none.
  std::optional<std::string_view> Find(std::string_view name) const;

  auto begin() const { return fields_.begin(); }
  auto end() const { return fields_.end(); }
  size_t size() const { return fields_.size(); }

 private:
  std::vector<std::pair<std::string, std::string>> fields_;
};

struct HttpRequest {
  std::string method;  // "GET", "POST", as sent
  std::string path;    // percent-decoded: "/v1/models/org/name"
  std::string query;   // as sent, without the '?'
  HttpHeaders headers;
  std::string body;
  std::string remote_address;  // "127.0.0.1:53122"
  uint64_t id = 0;             // counts up from 1 over the life of the server
};

struct HttpResponse {
  int status = 200;
  HttpHeaders headers;  // Content-Length, Connection, Transfer-Encoding and Date are the server's
  std::string body;
};

std::string_view HttpReason(int status);  // "Not Found"; "" for unknown ones

// "%2F" to "/"; nullopt for a broken escape or an encoded NUL.
std::optional<std::string> PercentDecode(std::string_view text);

// The value of `name` in "a=1&b=2", decoded ('+' is a space); nullopt: absent or broken.
std::optional<std::string> QueryParam(std::string_view query, std::string_view name);

}  // namespace lorry::net
