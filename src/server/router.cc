#include "server/router.h"

namespace lorry::server {
namespace {

constexpr Route kRoutes[] = {
    {"GET", "/health", Endpoint::kHealth, true},
    {"GET", "/ready", Endpoint::kReady, true},
    {"GET", "/version", Endpoint::kVersion, true},
    {"GET", "/metrics", Endpoint::kMetrics, true},
    {"GET", "/v1/models", Endpoint::kModels, false},
    {"GET", "/v1/models/", Endpoint::kModel, false},
    {"POST", "/v1/completions", Endpoint::kCompletions, false},
    {"POST", "/v1/chat/completions", Endpoint::kChatCompletions, false},
    {"POST", "/tokenize", Endpoint::kTokenize, false},
    {"POST", "/detokenize", Endpoint::kDetokenize, false},
};

bool Covers(const Route& route, std::string_view path) {
  if (route.path == path) return true;
  return route.path.ends_with('/') && path.starts_with(route.path);
}

}  // namespace

RouteMatch FindRoute(std::string_view method, std::string_view path) {
  for (const Route& route : kRoutes) {
    if (!Covers(route, path)) continue;
    RouteMatch match;
    const bool is_get = route.method == "GET";
    match.allow = is_get ? "GET, HEAD, OPTIONS" : "POST, OPTIONS";
    if (method == route.method || (is_get && method == "HEAD")) {
      match.route = &route;
      match.rest = path.substr(route.path.size());
    } else {
      match.status = method == "OPTIONS" ? 204 : 405;
    }
    return match;
  }
  return {.status = 404};
}

}  // namespace lorry::server
