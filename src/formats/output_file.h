// A file that comes to stand under its name whole or not at all: written beside it, then renamed.
// Owns: the descriptor, and the partial file until Publish. Thread: one at a time. Never: leaves a
// partial file behind, but for a crash; such a one ends in ".part" and nobody reads it. Its writer
// holds a lock on it, which tells others that it lives.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

#include "base/result.h"
#include "formats/file_descriptor.h"

namespace lorry::formats {

class OutputFile {
 public:
  // Its directory must exist.
  static Result<OutputFile> Create(std::string path);

  OutputFile(OutputFile&&) noexcept;
  OutputFile& operator=(OutputFile&&) = delete;
  ~OutputFile();

  // Takes the blocks now, so that a full disk is met before the work and not in its midst. A file
  // system that cannot is left alone.
  Status Reserve(uint64_t size_bytes);
  Status WriteAt(uint64_t offset, std::span<const std::byte> bytes);
  // The same past the system's page cache where the file system can and both offset and memory are
  // multiples of 4096: large files that nobody reads soon cost no memory and less time so.
  Status WriteDirectAt(uint64_t offset, std::span<const std::byte> bytes);
  // Brings what was written to the disk: after a loss of power, too, the name shows a whole file.
  Status Sync();
  // Replaces what stood under the name. Nothing is written afterwards.
  Status Publish();

  const std::string& path() const { return path_; }

 private:
  OutputFile(std::string path, std::string partial_path, FileDescriptor fd);

  std::string path_;
  std::string partial_path_;  // empty once published
  FileDescriptor fd_;
};

// Removes what a writer left that did not come to its end; the file of one that lives stays.
void RemoveIfAbandoned(const std::string& partial_path);

// A file of this text, whole or not at all.
Status WriteTextFile(const std::string& path, std::string_view text, bool sync);

// Makes renames in this directory outlast a loss of power.
Status SyncDirectory(const std::string& dir);

}  // namespace lorry::formats
