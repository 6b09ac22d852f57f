// Decompresses a gzip file piece by piece and checks its checksum and length at the end, which
// libarchive 3.6 does not do: a flipped bit must not become a weight.
// Owns: the file and one block. Thread: one at a time. Never: gives out more than its limit.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/result.h"
#include "formats/file_descriptor.h"

namespace lorry::formats {

class GunzipStream {
 public:
  // `path` names the file in errors.
  static Result<GunzipStream> Open(OpenedFile file, std::string path, uint64_t max_bytes);

  GunzipStream(GunzipStream&&) noexcept;
  ~GunzipStream();

  // The next bytes, valid until the next call; none at the end.
  Result<std::span<const std::byte>> Next();

 private:
  struct State;
  explicit GunzipStream(std::unique_ptr<State> state);
  Status FillInput();
  // After a member's end: true if another member follows.
  Result<bool> BeginNextMember();

  std::unique_ptr<State> state_;
};

// True if the file begins as gzip files do.
Result<bool> IsGzip(const OpenedFile& file, const std::string& path);

}  // namespace lorry::formats
