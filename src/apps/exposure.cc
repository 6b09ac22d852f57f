#include "apps/exposure.h"

#include <fmt/format.h>

#include <algorithm>

#include "server/admin_access.h"

namespace lorry::apps {

std::vector<std::string> ExposureWarnings(const server::ServerOptions& options) {
  std::vector<std::string> warnings;
  const std::string& host = options.http.host;
  const server::AdminOptions& admin = options.admin;
  if (options.api_keys.empty() && !server::IsLoopback(host)) {
    warnings.push_back(fmt::format(
        "--host {}: whoever reaches this machine may generate{}, since no --api-key is set", host,
        admin.vllm_for_clients ? " and load adapters from any source" : ""));
  }
  const bool is_shared = !admin.key.empty() &&
                         std::ranges::find(options.api_keys, admin.key) != options.api_keys.end();
  if (is_shared) {
    warnings.push_back(
        "--admin-key is an --api-key too: every client that has it may manage adapters");
  }
  return warnings;
}

}  // namespace lorry::apps
