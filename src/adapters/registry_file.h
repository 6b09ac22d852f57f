// RegistryFile: what was registered while servers of one base ran, so that a restart knows it, and
// what each source held when it was last read, so that nothing unchanged is read again.
//
//     server A: {+a}  ──lock──▶  read {b}    ──▶ write {a, b} ──fsync──▶ A answers
//     server B: {-b}  ──lock──▶  read {a, b} ──▶ write {a}    ──fsync──▶ B answers
//
// The file alone is the truth: who changes it says which names it adds and which it takes away, and
// nothing of those it knows beside them. So no server loses what another one has added, nor brings
// back what that has removed.
// Owns: one JSON file, replaced as a whole. Thread: any; processes too, which take turns. Never:
// holds a token, or puts away a file that it could not read for want of descriptors or rights, or
// that a newer version wrote.
#pragma once

#include <functional>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/ids.h"
#include "base/result.h"

namespace lorry::adapters {

struct RegisteredAdapter {
  std::string name;
  std::string source;
  bool is_pinned = false;
  int64_t created_s = 0;
};

struct KnownSource {
  std::string revision;
  AdapterId id;
  int max_rank = 0;
  int num_modules = 0;
  size_t num_bytes = 0;

  bool operator==(const KnownSource&) const = default;
};

struct RegistryContent {
  std::vector<RegisteredAdapter> adapters;
  std::map<std::string, KnownSource> sources;  // by their text
};

// Erases sources that are not in `named` until at most `max_unnamed` of those are left, the first
// ones by their text: when a source was used last is not written down.
void ForgetUnnamed(std::map<std::string, KnownSource>& sources, const std::set<std::string>& named,
                   size_t max_unnamed);

struct RegistryChange {
  std::map<std::string, std::optional<RegisteredAdapter>> adapters;  // by name; nullopt: removed
  std::map<std::string, KnownSource> sources;

  bool empty() const { return adapters.empty() && sources.empty(); }
  void ApplyTo(RegistryContent& content) const;
};

class RegistryFile {
 public:
  // An empty path: nothing is kept.
  explicit RegistryFile(std::string path, Micros max_wait_us = 10'000'000)
      : path_(std::move(path)), max_wait_us_(max_wait_us) {}

  // A missing file is empty. kDataLoss: it is broken. kUnsupported: a newer version wrote it.
  Result<RegistryContent> Read() const;
  // Reads, changes and writes it while nobody else does, with its directory where that is gone; it
  // is on the disk then, and outlasts a loss of power. False: there was none, or a broken one,
  // which is put aside under another name; the change is all that the file has now. kUnavailable:
  // others hold its lock for longer than it is waited for.
  Result<bool> Change(const std::function<void(RegistryContent&)>& change) const;

 private:
  Result<RegistryContent> ReadOrPutAside(bool& was_there) const;
  Status Write(const RegistryContent& content) const;

  std::string path_;
  Micros max_wait_us_;  // for the lock
};

}  // namespace lorry::adapters
