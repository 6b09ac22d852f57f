#include "server/router.h"

namespace lorry::server {
namespace {

constexpr Route kRoutes[] = {
    {"GET", "/health", Endpoint::kHealth, Access::kOpen},
    {"GET", "/ready", Endpoint::kReady, Access::kOpen},
    {"GET", "/version", Endpoint::kVersion, Access::kOpen},
    {"GET", "/metrics", Endpoint::kMetrics, Access::kOpen},
    {"GET", "/v1/models", Endpoint::kModels, Access::kClient},
    {"GET", "/v1/models/", Endpoint::kModel, Access::kClient},
    {"POST", "/v1/completions", Endpoint::kCompletions, Access::kClient},
    {"POST", "/v1/chat/completions", Endpoint::kChatCompletions, Access::kClient},
    {"POST", "/tokenize", Endpoint::kTokenize, Access::kClient},
    {"POST", "/detokenize", Endpoint::kDetokenize, Access::kClient},
    {"GET", "/v1/adapters", Endpoint::kAdapters, Access::kAdmin},
    {"POST", "/v1/adapters", Endpoint::kAdapters, Access::kAdmin},
    {"GET", "/v1/adapters/", Endpoint::kAdapter, Access::kAdmin},
    {"PATCH", "/v1/adapters/", Endpoint::kAdapter, Access::kAdmin},
    {"DELETE", "/v1/adapters/", Endpoint::kAdapter, Access::kAdmin},
    {"POST", "/v1/load_lora_adapter", Endpoint::kVllmLoad, Access::kAdmin},
    {"POST", "/v1/unload_lora_adapter", Endpoint::kVllmUnload, Access::kAdmin},
    {"POST", "/load_lora_adapter", Endpoint::kSglangLoad, Access::kAdmin},
    {"POST", "/unload_lora_adapter", Endpoint::kSglangUnload, Access::kAdmin},
    {"GET", "/adapters", Endpoint::kSagemakerAdapters, Access::kAdmin},
    {"POST", "/adapters", Endpoint::kSagemakerAdapters, Access::kAdmin},
    {"GET", "/adapters/", Endpoint::kSagemakerAdapter, Access::kAdmin},
    {"POST", "/adapters/", Endpoint::kSagemakerAdapter, Access::kAdmin},
    {"DELETE", "/adapters/", Endpoint::kSagemakerAdapter, Access::kAdmin},
    {"GET", "/models/", Endpoint::kDjlModels, Access::kAdmin},
    {"POST", "/models/", Endpoint::kDjlModels, Access::kAdmin},
    {"DELETE", "/models/", Endpoint::kDjlModels, Access::kAdmin},
};

bool Covers(const Route& route, std::string_view path) {
  if (route.path == path) return true;
  return route.path.ends_with('/') && path.starts_with(route.path);
}

}  // namespace

RouteMatch FindRoute(std::string_view method, std::string_view path) {
  RouteMatch match = {.status = 404};
  std::string_view pattern;  // of the first route that covers the path: with it stand its methods
  for (const Route& route : kRoutes) {
    if (match.status == 404 ? !Covers(route, path) : route.path != pattern) continue;
    pattern = route.path;
    if (match.status == 404) match.status = 405;
    const bool is_get = route.method == "GET";
    match.allow += is_get ? "GET, HEAD, " : fmt::format("{}, ", route.method);
    if (method == route.method || (is_get && method == "HEAD")) {
      match.route = &route;
      match.status = 200;
      match.rest = path.substr(route.path.size());
    }
  }
  if (match.status == 404) return match;
  match.allow += "OPTIONS";
  if (method == "OPTIONS") match.status = 204;
  return match;
}

}  // namespace lorry::server
