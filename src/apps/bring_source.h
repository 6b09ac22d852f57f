// A source's files on this machine, for commands that look at an adapter once.
#pragma once

#include <string>
#include <vector>

#include "adapters/source_files.h"
#include "base/result.h"

namespace lorry::apps {

struct BringOptions {
  std::vector<std::string> allow_private_hosts;
  std::string adapter_cache;  // as --adapter-cache
  std::string token;          // of the source
};

// The source's directory; fetched into the cache with progress if it is elsewhere. `files` keeps it
// while it is looked at. kCancelled: Ctrl-C.
Result<std::string> BringSourceHere(const std::string& source, const BringOptions& options,
                                    adapters::SourceFiles& files);

}  // namespace lorry::apps
