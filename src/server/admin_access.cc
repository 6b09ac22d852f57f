#include "server/admin_access.h"

#include <arpa/inet.h>

#include "base/ascii.h"

namespace lorry::server {
namespace {

bool HasKey(const net::HttpHeaders& headers, const std::string& key) {
  const bool as_bearer = ConstantTimeEqual(key, BearerToken(headers));
  const bool as_field = ConstantTimeEqual(key, headers.Find("x-api-key").value_or(""));
  return as_bearer || as_field;
}

// Where no key says who asks, a page in somebody's browser is not that somebody.
Status RefuseWebPages(const net::HttpHeaders& headers) {
  if (!headers.Find("origin")) return {};
  return Fail(ErrorCode::kPermission,
              "Web pages may not manage adapters here; --admin-key lets those that have the key.");
}

// "localhost" of "localhost:8001", "::1" of "[::1]:8001".
std::string WithoutPort(std::string_view field) {
  if (field.starts_with('[')) return std::string(field.substr(1, field.find(']') - 1));
  return std::string(field.substr(0, field.rfind(':')));
}

}  // namespace

std::string WhyNoAdminKey(const net::HttpHeaders& headers) {
  if (!headers.Find("x-api-key").value_or("").empty()) return "The key is wrong.";
  return WhyNoKey(headers, "Put it into a header: Authorization: Bearer KEY, or X-Api-Key: KEY.");
}

bool IsLoopback(const std::string& host) {
  in_addr v4 = {};
  if (inet_pton(AF_INET, host.c_str(), &v4) == 1) return ntohl(v4.s_addr) >> 24 == 127;
  in6_addr v6 = {};
  if (inet_pton(AF_INET6, host.c_str(), &v6) == 1) return IN6_IS_ADDR_LOOPBACK(&v6);
  return EqualIgnoringCase(host, "localhost");
}

Status AdminAccess::CheckHost(const net::HttpHeaders& headers) const {
  const auto field = headers.Find("host");
  if (!options_.key.empty() || !field) return {};
  const std::string host = WithoutPort(*field);
  if (IsLoopback(host) || EqualIgnoringCase(host, options_.host)) return {};
  return Fail(ErrorCode::kPermission,
              fmt::format("This listener takes requests for localhost only, not for '{}'; with "
                          "--admin-key it takes those that have the key.",
                          host.substr(0, 200)));
}

Status AdminAccess::Check(Endpoint endpoint, const net::HttpHeaders& headers,
                          Listener listener) const {
  if (!options_.key.empty() && HasKey(headers, options_.key)) return {};
  const bool is_vllm = endpoint == Endpoint::kVllmLoad || endpoint == Endpoint::kVllmUnload;
  if (is_vllm && options_.vllm_for_clients) {
    RETURN_IF_ERROR(clients_.Check(headers));
    return RefuseWebPages(headers);
  }
  if (!options_.key.empty()) {
    return Fail(ErrorCode::kUnauthenticated,
                "Adapters are managed with the admin key. " + WhyNoAdminKey(headers));
  }
  if (listener == Listener::kAdmin) return RefuseWebPages(headers);
  return Fail(ErrorCode::kNotFound,
              "Adapters are not managed here. --admin-key KEY turns that on for who has the key, "
              "--admin-port N on a listener of its own.");
}

}  // namespace lorry::server
