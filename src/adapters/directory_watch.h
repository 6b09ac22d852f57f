// DirectoryWatch: keeps the catalogue in step with directories whose sub-directories are adapters,
// or hold some (watched_tree.h): the name is the path below the watched one.
// When it looks where: watch_rounds.h.
// Owns: one thread of low priority.
#pragma once

#include <atomic>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "adapters/catalogue.h"
#include "adapters/watch_rounds.h"
#include "base/result.h"

namespace lorry::adapters {

class DirectoryWatch {
 public:
  // kNotFound: one of them is no directory. What is there now is known when Start returns.
  static Result<std::unique_ptr<DirectoryWatch>> Start(std::vector<std::string> dirs,
                                                       Catalogue& catalogue);
  ~DirectoryWatch();

  // kNotFound, as of Start.
  static Status CheckDirectories(const std::vector<std::string>& dirs);

 private:
  DirectoryWatch(std::vector<std::string> dirs, Catalogue& catalogue);
  void Run();

  WatchRounds rounds_;
  std::atomic<bool> stopping_ = false;
  std::thread thread_;
};

}  // namespace lorry::adapters
