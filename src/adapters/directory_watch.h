// DirectoryWatch: keeps the catalogue in step with directories whose sub-directories are adapters,
// or hold some (watched_tree.h): the name is the path below the watched one.
// It looks where the system says that something has changed, within a second; and at everything
// each minute, since nobody says what another machine writes to a network's file system, nor what
// is written through a mapping. Where the system says nothing, or not of all, every 20 s.
// Owns: one thread of low priority.
#pragma once

#include <atomic>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "adapters/catalogue.h"
#include "adapters/file_events.h"
#include "adapters/watched_tree.h"
#include "base/result.h"

namespace lorry::adapters {

class DirectoryWatch {
 public:
  // kNotFound: one of them is no directory. What is there now is known when Start returns.
  static Result<std::unique_ptr<DirectoryWatch>> Start(std::vector<std::string> dirs,
                                                       Catalogue& catalogue);
  ~DirectoryWatch();

 private:
  DirectoryWatch(std::vector<std::string> dirs, Catalogue& catalogue);
  void Run();
  Micros PeriodUs();

  bool is_on_network_ = false;
  bool has_said_ = false;  // that changes are seen late
  FileEvents events_;
  WatchedTree tree_;
  std::atomic<bool> stopping_ = false;
  std::thread thread_;
};

}  // namespace lorry::adapters
