// API keys, as "Authorization: Bearer KEY".
// Owns: the keys. Thread: any. Never: tells by its timing how much of a key was right.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "net/http_message.h"

namespace lorry::server {

class Auth {
 public:
  explicit Auth(std::vector<std::string> keys) : keys_(std::move(keys)) {}

  bool has_keys() const { return !keys_.empty(); }

  // kUnauthenticated, unless no key is asked for or the request has one of them.
  Status Check(const net::HttpHeaders& headers) const;

 private:
  const std::vector<std::string> keys_;
};

// The text after "Authorization: Bearer "; "" if there is none.
std::string_view BearerToken(const net::HttpHeaders& headers);

// Why a header opens nothing: `missing` where it has no key at all, else that the key is wrong or
// not in the form Bearer KEY. Never shows what was sent.
std::string WhyNoKey(const net::HttpHeaders& headers, std::string_view missing);

// Equal, in a time that depends on the lengths only.
bool ConstantTimeEqual(std::string_view a, std::string_view b);

}  // namespace lorry::server
