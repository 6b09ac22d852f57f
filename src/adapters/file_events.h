// FileEvents: what the system says of changes in directories (inotify).
// Owns: the system's watches, of a bounded number. Thread: one; Wake from any. Never: says anything
// of what other machines change on a network's file system, or of what is written through a
// mapping; takes more at once than it may, however fast things change.
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
  static constexpr size_t kMaxEvents = 4096;  // of one Wait, and a few

  explicit FileEvents(size_t max_watches = kMaxWatches);

  // False: the system has none.
  bool works() const { return events_.get() >= 0; }

  // Follows links. The same directory has the same watch however often it is added, while it is
  // there. -1: it cannot be watched.
  int Add(const std::string& path);
  void Remove(int watch);

  // Whether it says of all that has been added since AddAnew. If not, `reason`.
  bool says_all() const { return works() && says_all_; }
  const std::string& reason() const { return reason_; }
  void AddAnew();

  // What has happened, or the first part of it; waits for it at most so long, or until Wake.
  std::vector<FileEvent> Wait(std::chrono::milliseconds limit);
  void Wake();

 private:
  formats::FileDescriptor events_, wake_;
  const size_t max_watches_;
  std::string reason_;
  std::unordered_set<int> watches_;
  bool is_full_ = false;  // nothing more is tried
  bool says_all_ = true;
};

}  // namespace lorry::adapters
