// A file mapped read-only into memory.
// Owns: the mapping. Thread: any, read-only. Never: maps anything but a regular file, or writes.
// A mapped file must not be shortened by others while it is in use: replace such files, don't
// rewrite them.
#pragma once

#include <cstddef>
#include <span>
#include <string>

#include "base/result.h"

namespace lorry::formats {

class MappedFile {
 public:
  static Result<MappedFile> Open(const std::string& path);

  MappedFile(MappedFile&& other) noexcept;
  MappedFile& operator=(MappedFile&& other) noexcept;
  ~MappedFile();

  std::span<const std::byte> bytes() const { return {data_, size_bytes_}; }
  const std::string& path() const { return path_; }

  // Tells the system that the pages wholly inside `range` are not needed soon: they leave resident
  // memory and come back from the file when touched.
  void ReleasePages(std::span<const std::byte> range) const;

 private:
  MappedFile(std::string path, const std::byte* data, size_t size_bytes)
      : path_(std::move(path)), data_(data), size_bytes_(size_bytes) {}
  void Unmap();

  std::string path_;
  const std::byte* data_ = nullptr;
  size_t size_bytes_ = 0;
};

// The whole of a small file as text; larger than max_bytes is refused.
Result<std::string> ReadSmallFile(const std::string& path, size_t max_bytes);

}  // namespace lorry::formats
