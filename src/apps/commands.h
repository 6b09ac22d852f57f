// The commands of `lorry`. Each gets its loaded options and the words between them, and returns the
// exit status.
#pragma once

#include <string>
#include <vector>

#include "apps/options.h"

namespace lorry::apps {

int Serve(const Options& options);
int Run(const Options& options, const std::string& prompt);
int Inspect(const Options& options, const std::string& source);
int Pull(const Options& options, const std::vector<std::string>& sources);
int Ls(const Options& options);
int Rm(const Options& options, const std::vector<std::string>& words);
int Pin(const Options& options, const std::vector<std::string>& words);
int Top(const Options& options, const std::string& url);
int Version(const Options& options);

}  // namespace lorry::apps
