// The commands of `lorry`. Each gets its loaded options and the words between them, and returns the
// exit status.
#pragma once

#include <string>
#include <vector>

#include "apps/options.h"

namespace lorry::apps {

int Serve(const Options& options);
int Run(const Options& options, const std::string& prompt);
int Inspect(const Options& options, const std::string& path);
int Version(const Options& options);

}  // namespace lorry::apps
