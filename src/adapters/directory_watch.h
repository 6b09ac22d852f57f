// DirectoryWatch: keeps the catalogue in step with directories whose sub-directories are adapters,
// or hold some: the name is the path below the watched one.
// One that appears is an adapter once it is complete and has not changed for one round; one that
// changes is read again, one that goes away is forgotten. By looking, twice a second: that works on
// every file system, network ones too. Owns: one thread of low priority.
#pragma once

#include <atomic>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "adapters/catalogue.h"
#include "base/mailbox.h"
#include "base/result.h"

namespace lorry::adapters {

class DirectoryWatch {
 public:
  // kNotFound: one of them is no directory. What is there now is known when Start returns.
  static Result<std::unique_ptr<DirectoryWatch>> Start(std::vector<std::string> dirs,
                                                       Catalogue& catalogue);
  ~DirectoryWatch();

 private:
  struct Seen {
    std::string dir;
    std::string state;     // names, sizes and times of its files
    bool is_told = false;  // to the catalogue, in this state
  };

  DirectoryWatch(std::vector<std::string> dirs, Catalogue& catalogue);
  void Run();
  void Look(bool is_first);
  void LookInto(const std::string& dir, const std::string& prefix, int depth, bool is_first,
                std::set<std::string>& present);
  void LookAt(const std::string& name, const std::string& dir, bool is_first,
              std::set<std::string>& present);

  const std::vector<std::string> dirs_;
  Catalogue& catalogue_;
  std::map<std::string, Seen> seen_;  // by adapter name
  Mailbox<int> stop_{1};
  std::atomic<bool> stopping_ = false;
  std::thread thread_;
};

}  // namespace lorry::adapters
