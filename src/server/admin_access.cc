#include "server/admin_access.h"

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

}  // namespace

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
                "Adapters are managed with the admin key. Put it into a header: Authorization: "
                "Bearer KEY, or X-Api-Key: KEY.");
  }
  if (listener == Listener::kAdmin) return RefuseWebPages(headers);
  return Fail(ErrorCode::kNotFound,
              "Adapters are not managed here. --admin-key KEY turns that on for who has the key, "
              "--admin-port N on a listener of its own.");
}

}  // namespace lorry::server
