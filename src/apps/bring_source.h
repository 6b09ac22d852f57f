// Sources' files on this machine, as a server would read them, for commands that look at adapters
// once.
// Owns: locks on the staging directories, while the files are looked at. What was made of files of
// this machine goes with it; what was fetched stays for the next time. Thread: one.
#pragma once

#include <map>
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

struct BroughtSource {
  std::string dir;
  std::string shown;  // where it comes from, without secrets
};

class BroughtSources {
 public:
  BroughtSources() = default;
  ~BroughtSources();
  BroughtSources(const BroughtSources&) = delete;
  BroughtSources& operator=(const BroughtSources&) = delete;

  // Fetched into the cache with progress if it is elsewhere, unpacked and converted. A directory
  // that is no adapter is given back as it is. kCancelled: Ctrl-C.
  Result<BroughtSource> Bring(const std::string& source, const BringOptions& options);

 private:
  struct Staged {
    adapters::SourceFiles files;
    bool is_local = false;
  };
  std::map<std::string, Staged> staged_;  // by staging directory: a source has one, locked once
};

}  // namespace lorry::apps
