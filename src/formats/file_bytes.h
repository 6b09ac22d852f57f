// A file's bytes, read into memory of ours.
// Owns: the memory.
// Thread: any, read-only.
// Never: maps a file. Whoever shortens one that is mapped ends the process that reads it (SIGBUS),
// and whoever rewrites it changes what was checked already.
#pragma once

#include <cstddef>
#include <optional>
#include <span>
#include <string>

#include "base/result.h"
#include "device/buffer.h"
#include "formats/file_descriptor.h"

namespace lorry::formats {

class FileBytes {
 public:
  // kDataLoss if the file is shortened meanwhile.
  static Result<FileBytes> Read(const std::string& path);
  static Result<FileBytes> Read(const OpenedFile& file, const std::string& path);

  std::span<const std::byte> bytes() const { return {buffer_.data(), size_bytes_}; }
  const std::string& path() const { return path_; }

 private:
  FileBytes(std::string path, Buffer buffer, size_t size_bytes)
      : path_(std::move(path)), buffer_(std::move(buffer)), size_bytes_(size_bytes) {}

  std::string path_;
  Buffer buffer_;
  size_t size_bytes_ = 0;
};

// The whole of a small file as text. Larger than max_bytes is refused, and so is a Git LFS pointer,
// whatever the file is to be.
Result<std::string> ReadSmallFile(const std::string& path, size_t max_bytes);

// The same, or nothing if there is no such file. One that is there and cannot be read is an error.
Result<std::optional<std::string>> ReadFileIfThere(const std::string& path, size_t max_bytes);

}  // namespace lorry::formats
