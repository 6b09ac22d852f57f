// A running server's /v1/adapters, as the commands use it.
// Owns: a connection. Thread: one. Blocks.
#pragma once

#include <boost/json/array.hpp>
#include <boost/json/object.hpp>
#include <chrono>
#include <string>

#include "base/result.h"
#include "net/http_client.h"

namespace lorry::apps {

class AdminClient {
 public:
  // "http://host:port"; without a key the header is left out. The limit is of each call: a pin may
  // bring an adapter from far away.
  static Result<AdminClient> Create(const std::string& url, std::string key,
                                    std::chrono::milliseconds limit = std::chrono::minutes(30));

  // Adapters as the server writes them (docs/adapters_api.md), all pages.
  Result<boost::json::array> List();
  Result<boost::json::object> SetPinned(const std::string& name, bool is_pinned);
  Status Remove(const std::string& name);

  // The text of any other path.
  Result<std::string> Get(const std::string& path);

 private:
  AdminClient(const net::HttpUrl& url, std::string text, std::string key,
              std::chrono::milliseconds limit);
  Result<std::string> Call(std::string method, const std::string& path, std::string body);
  Result<boost::json::object> CallJson(std::string method, const std::string& path,
                                       std::string body);

  net::HttpClient http_;
  std::string prefix_;  // of every path
  std::string url_;
  std::string key_;
  std::chrono::milliseconds limit_;
};

}  // namespace lorry::apps
