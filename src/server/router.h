// Which handler answers a path and method.
// Owns: the table. Thread: any, once it is built. Never: looks at bodies or headers.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace lorry::server {

enum class Endpoint {
  kRoot,
  kHealth,
  kReady,
  kVersion,
  kMetrics,
  kModels,
  kModel,
  kCompletions,
  kChatCompletions,
  kTokenize,
  kDetokenize,
  // Adapter management.
  kAdapters,  // Lorry's own
  kAdapter,
  kVllmLoad,
  kVllmUnload,
  kSglangLoad,
  kSglangUnload,
  kSagemakerAdapters,  // SageMaker's, and DJL Serving's of one model
  kSagemakerAdapter,
  kDjlModels,  // DJL Serving's: the path says which model
};

// Who may call.
enum class Access {
  kOpen,     // everyone
  kMetrics,  // as --metrics says
  kClient,   // who has an API key, where there are any
  kAdmin,    // who has the admin key, or comes by the management listener (admin_access.h)
};

struct Route {
  std::string_view method;  // GET stands for HEAD too
  std::string_view path;    // one that ends in '/' stands for everything below it
  Endpoint endpoint;
  Access access;
};

struct RouteMatch {
  const Route* route = nullptr;  // nullptr: see `status`
  int status = 200;              // 404, 405, or 204 for OPTIONS
  std::string allow;             // with 405 and 204: the methods of this path
  std::string_view rest;         // of the path, below a route that ends in '/'
};

RouteMatch FindRoute(std::string_view method, std::string_view path);

// The path that was meant, most likely, by one where nothing is; "": none is near.
std::string NearestPath(std::string_view path);

}  // namespace lorry::server
