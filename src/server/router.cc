#include "server/router.h"

#include <span>

#include "base/ascii.h"
#include "base/spelling.h"

namespace lorry::server {
namespace {

constexpr Route kRoutes[] = {
    {"GET", "/", Endpoint::kRoot, Access::kOpen},
    {"GET", "/health", Endpoint::kHealth, Access::kOpen},
    {"GET", "/ready", Endpoint::kReady, Access::kOpen},
    {"GET", "/version", Endpoint::kVersion, Access::kOpen},
    {"GET", "/metrics", Endpoint::kMetrics, Access::kMetrics},
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

// What ends in '/' has something below it: "/v1/models/" alone is "/v1/models", mistyped.
bool Covers(const Route& route, std::string_view path) {
  const bool has_rest = route.path.size() > 1 && route.path.ends_with('/');
  if (!has_rest) return route.path == path;
  return path.size() > route.path.size() && path.starts_with(route.path);
}

constexpr size_t kMaxMeantBytes = 512;  // of a path that may be a mistyped one

// Without doubled slashes and the last one.
std::string Tidy(std::string_view path) {
  std::string tidy;
  for (const char c : path) {
    if (c != '/' || !tidy.ends_with('/')) tidy += c;
  }
  if (tidy.size() > 1 && tidy.ends_with('/')) tidy.pop_back();
  return tidy;
}

// The path as its route is spelled, if that is all that is wrong with it.
std::string AsRouted(const std::string& path) {
  const std::string lower = AsciiLower(path);
  for (const Route& route : kRoutes) {
    if (!Covers(route, lower)) continue;
    return std::string(route.path) + path.substr(route.path.size());
  }
  return "";
}

}  // namespace

RouteMatch FindRoute(std::string_view method, std::string_view path) {
  RouteMatch match = {.status = 404};
  std::string_view pattern;  // of the first route that covers the path: with it stand its methods
  for (const Route& route : kRoutes) {
    if (match.status == 404 ? !Covers(route, path) : route.path != pattern) continue;
    pattern = route.path;
    match.status = 405;
    if (method == route.method || (route.method == "GET" && method == "HEAD")) {
      return {.route = &route, .status = 200, .rest = path.substr(route.path.size())};
    }
  }
  if (match.status == 404) return match;
  for (const Route& route : kRoutes) {
    if (route.path != pattern) continue;
    match.allow += route.method == "GET" ? "GET, HEAD, " : fmt::format("{}, ", route.method);
  }
  match.allow += "OPTIONS";
  if (method == "OPTIONS") match.status = 204;
  return match;
}

std::string NearestPath(std::string_view path) {
  if (path.size() > kMaxMeantBytes || !path.starts_with('/')) return "";
  const std::string tidy = Tidy(path);
  // With the version that was left out, or without what stands before it or stands there twice.
  std::vector<std::string> candidates = {tidy, "/v1" + tidy};
  for (size_t slash = tidy.find('/', 1); slash != std::string::npos;
       slash = tidy.find('/', slash + 1)) {
    candidates.push_back(tidy.substr(slash));
    candidates.push_back("/v1" + tidy.substr(slash));
  }
  for (const std::string& candidate : candidates) {
    if (std::string found = AsRouted(candidate); found.size() > 1) return found;
  }
  constexpr size_t kMaxMistypedBytes = 64;
  if (tidy.size() > kMaxMistypedBytes) return "";
  std::vector<std::string> known;
  for (const Route& route : kRoutes) {
    if (route.path.size() > 1 && !route.path.ends_with('/')) known.emplace_back(route.path);
  }
  return Nearest(tidy, known);
}

}  // namespace lorry::server
