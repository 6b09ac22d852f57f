// What a server's options open to more people than its operator may have meant.
// Owns: nothing. Thread: any. Pure.
#pragma once

#include <string>
#include <vector>

#include "server/server_options.h"

namespace lorry::apps {

// A line each, for the log.
std::vector<std::string> ExposureWarnings(const server::ServerOptions& options);

}  // namespace lorry::apps
