#include "bench/server_metrics.h"

#include <cstdlib>
#include <string>

namespace lorry::bench {

std::optional<EngineSeconds> ReadEngineSeconds(const net::HttpUrl& url,
                                               const net::HttpHeaders& headers) {
  net::HttpClient client(url.host, url.port);
  const auto response = client.Send({.target = url.path + "/metrics", .headers = headers});
  if (!response || response->status != 200) return std::nullopt;
  // lorry:step_seconds_total{...,phase="forward"} 12.5
  const std::string& text = response->body;
  for (size_t at = text.find("\nlorry:step_seconds_total{"); at != std::string::npos;
       at = text.find("\nlorry:step_seconds_total{", at + 1)) {
    const size_t end = std::min(text.find('\n', at + 1), text.size());
    const std::string line = text.substr(at + 1, end - at - 1);
    if (line.find("phase=\"forward\"") == std::string::npos) continue;
    return EngineSeconds{std::strtod(line.c_str() + line.rfind(' ') + 1, nullptr)};
  }
  return std::nullopt;
}

}  // namespace lorry::bench
