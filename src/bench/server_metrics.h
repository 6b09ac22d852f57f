// What a Lorry server says of its own time, read from /metrics.
#pragma once

#include <optional>

#include "net/http_client.h"

namespace lorry::bench {

struct EngineSeconds {
  double forward_s = 0;  // spent in forward passes since the start
};

// nullopt for servers that do not have the metric.
std::optional<EngineSeconds> ReadEngineSeconds(const net::HttpUrl& url,
                                               const net::HttpHeaders& headers);

}  // namespace lorry::bench
