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
  return Fail(ErrorCode::kUnauthenticated,
              token.empty()
                  ? "No API key was sent. Put it into a header: Authorization: Bearer KEY."
                  : "The API key is wrong.");
}

}  // namespace lorry::server
