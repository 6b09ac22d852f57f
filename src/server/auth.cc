#include "server/auth.h"

#include "base/ascii.h"

namespace lorry::server {
namespace {

constexpr std::string_view kScheme = "bearer ";  // its case does not matter

}  // namespace

std::string_view BearerToken(const net::HttpHeaders& headers) {
  const auto value = headers.Find("authorization");
  if (!value || value->size() <= kScheme.size()) return {};
  if (!BeginsIgnoringCase(*value, kScheme)) return {};
  return value->substr(kScheme.size());
}

std::string WhyNoKey(const net::HttpHeaders& headers, std::string_view missing) {
  if (!BearerToken(headers).empty()) return "The key is wrong.";
  if (!headers.Find("authorization").value_or("").empty()) {
    return "The header Authorization must be of the form: Bearer KEY.";
  }
  return std::string(missing);
}

bool ConstantTimeEqual(std::string_view a, std::string_view b) {
  if (a.size() != b.size()) return false;
  volatile unsigned char difference = 0;  // volatile: the loop may not end early
  for (size_t i = 0; i < a.size(); ++i) {
    difference = static_cast<unsigned char>(difference | (a[i] ^ b[i]));
  }
  return difference == 0;
}

Status Auth::Check(const net::HttpHeaders& headers) const {
  if (keys_.empty()) return {};
  const std::string_view token = BearerToken(headers);
  bool known = false;
  for (const std::string& key : keys_) known |= ConstantTimeEqual(key, token);
  if (known && !token.empty()) return {};
  const std::string_view missing =
      headers.Find("x-api-key")
          ? "The API key is not taken from X-Api-Key. Put it into a header: Authorization: Bearer "
            "KEY."
          : "No API key was sent. Put it into a header: Authorization: Bearer KEY.";
  return Fail(ErrorCode::kUnauthenticated, WhyNoKey(headers, missing));
}

}  // namespace lorry::server
