// FileEvents: what the system says of changes in directories (inotify).
// Owns: the system's watches, of a bounded number. Thread: one; Wake from any. Never: says anything
// of a file system that others change too (a network's), or of what is written through a mapping.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <unordered_set>
#include <vector>

#include "formats/file_descriptor.h"

namespace lorry::adapters {

struct FileEvent {
  int watch = -1;    // -1: some were lost, anything may have changed
  std::string name;  // of what changed in the directory; empty: itself
  bool is_watch_gone = false;
};

class FileEvents {
 public:
  static constexpr size_t kMaxWatches = size_t{1} << 17;

  explicit FileEvents(size_t max_watches = kMaxWatches);

  // False: the system has none, for `reason`.
  bool works() const { return events_.get() >= 0; }
  const std::string& reason() const { return reason_; }

  // Follows links. The same directory has the same watch however often it is added. -1: `reason`
  // says why; is_full: since there are as many as may be.
  int Add(const std::string& path);
  bool is_full() const { return is_full_; }
  void Remove(int watch);

  // What has happened; waits for it at most so long, or until Wake.
  std::vector<FileEvent> Wait(std::chrono::milliseconds limit);
  void Wake();

 private:
  formats::FileDescriptor events_, wake_;
  const size_t max_watches_;
  std::string reason_;
  std::unordered_set<int> watches_;
  bool is_full_ = false;
};

}  // namespace lorry::adapters
