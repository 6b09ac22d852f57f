// Open files and what the system says when something about them fails.
// Owns: descriptors. Thread: any. Never: opens anything but a regular file for reading.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <utility>

#include "base/result.h"

namespace lorry::formats {

// Closes on every way out.
class FileDescriptor {
 public:
  explicit FileDescriptor(int fd = -1) : fd_(fd) {}
  FileDescriptor(FileDescriptor&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  FileDescriptor& operator=(FileDescriptor&& other) noexcept {
    std::swap(fd_, other.fd_);
    return *this;
  }
  ~FileDescriptor();
  int get() const { return fd_; }
  // Closes now, and says whether what was written has reached the file system.
  bool Close();

 private:
  int fd_;
};

struct OpenedFile {
  FileDescriptor fd;
  uint64_t size_bytes;
  int64_t modified_ns;    // when it was last written to
  uint64_t stored_bytes;  // on the disk: fewer where it has holes or the file system compresses
};

// For reading; a pipe, a device or a directory is refused.
Result<OpenedFile> OpenRegular(const std::string& path);

// Reads at `offset` until `out` is full or the file ends; says how many bytes came.
Result<size_t> ReadAt(const FileDescriptor& fd, const std::string& path, uint64_t offset,
                      std::span<std::byte> out);

// Most of it was never written, or compresses as trained weights do not: a download that reserved
// its room and was not completed looks so.
bool IsMostlyHoles(const OpenedFile& file);
void WarnOfHoles(const OpenedFile& file, const std::string& path);

// kDataLoss if somebody has written to the file, or cut or lengthened it, since it was opened. One
// that took its name does not count: what is open is the old one.
Status CheckUnchanged(const OpenedFile& file, const std::string& path);

// "path: No space left on device", with the code that belongs to this errno.
tl::unexpected<Error> SystemFailure(const std::string& path, int reason);

}  // namespace lorry::formats
