// A directory that comes to stand under its name whole or not at all: filled beside it, then
// renamed.
// Owns: the partial directory, DIR.tmp-XXXXXX, until Publish; it is removed if that does not
// happen. Thread: one. Never: touches a directory that has something in it.
#pragma once

#include <cstdint>
#include <string>

#include "base/result.h"

namespace lorry::merge {

// May DIR be made: it does not exist or is empty, its parent exists, and the file system has room
// for `needed_bytes`.
Status CheckOutput(const std::string& dir, uint64_t needed_bytes);

class OutputDirectory {
 public:
  // Checks as above, then makes the partial directory.
  static Result<OutputDirectory> Create(const std::string& dir, uint64_t needed_bytes);

  OutputDirectory(OutputDirectory&& other) noexcept;
  OutputDirectory& operator=(OutputDirectory&&) = delete;
  ~OutputDirectory();

  // Where to write.
  const std::string& partial_path() const { return partial_path_; }
  // Gives it its name, to outlast a loss of power. Its files have been synced by whoever wrote
  // them.
  Status Publish();

 private:
  OutputDirectory(std::string path, std::string partial_path)
      : path_(std::move(path)), partial_path_(std::move(partial_path)) {}

  std::string path_;
  std::string partial_path_;  // empty once published
};

}  // namespace lorry::merge
