// RegistryFile: what was registered while the server ran, so that a restart knows it, and what each
// source held when it was last read, so that nothing unchanged is read again.
// Owns: one JSON file, replaced as a whole. Thread: any; processes too, which take turns. Never:
// holds a token.
#pragma once

#include <functional>
#include <map>
#include <string>
#include <vector>

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

class RegistryFile {
 public:
  explicit RegistryFile(std::string path) : path_(std::move(path)) {}  // empty: nothing is kept

  // A missing file is empty; a broken one is kDataLoss, and is put aside under another name.
  Result<RegistryContent> Read() const;
  // Reads, changes and writes it while nobody else does; it is on the disk then, and outlasts a
  // loss of power. A broken file counts as empty.
  Status Change(const std::function<void(RegistryContent&)>& change) const;

 private:
  Status Write(const RegistryContent& content) const;

  std::string path_;
};

}  // namespace lorry::adapters
