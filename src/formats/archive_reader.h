// The entries of a .tar, .tar.gz or .zip one after the other: libarchive behind our own reading,
// counting and checksums.
// Owns: the file. Thread: one at a time. Never: writes anything, judges a name, or hands out more
// than the limits allow.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>

#include "base/result.h"
#include "formats/archive.h"

namespace lorry::formats {

struct ArchiveEntry {
  enum class Kind { kFile, kDirectory, kOther };

  std::string path;  // as the archive has it
  Kind kind = Kind::kOther;
  std::string kind_name;    // "a symbolic link"
  uint64_t size_bytes = 0;  // what the archive says; 0 if it does not
};

class ArchiveReader {
 public:
  static Result<ArchiveReader> Open(const std::string& path, const ArchiveLimits& limits,
                                    const std::atomic<bool>* cancelled);

  ArchiveReader(ArchiveReader&&) noexcept;
  ~ArchiveReader();

  const std::string& path() const;
  // The next entry; nothing at the end. What was not read of the one before is passed over.
  Result<std::optional<ArchiveEntry>> Next();
  // The next bytes of the current file; 0 at its end, where its checksum, if it has one, was right.
  Result<size_t> Read(std::span<std::byte> out);

 private:
  struct State;
  explicit ArchiveReader(std::unique_ptr<State> state);
  tl::unexpected<Error> Failure(std::string_view doing) const;

  std::unique_ptr<State> state_;
};

}  // namespace lorry::formats
