// `lorry bench limits | kernels | step | serve | make-model`.
#pragma once

#include <string>
#include <vector>

#include "config/option.h"

namespace lorry::apps {

// args: after "bench". The exit code.
int RunBenchCommand(const std::vector<std::string>& args);

}  // namespace lorry::apps
