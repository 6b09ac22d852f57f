// `lorry bench limits | kernels | step | serve | make-model | eviction`.
#pragma once

#include <string>
#include <vector>

#include "config/option.h"

namespace lorry::apps {

// args: after "bench". The exit code.
int RunBenchCommand(const std::vector<std::string>& args);

// Its options, for docs/config.md.
std::string BenchOptionsMarkdown();

}  // namespace lorry::apps
