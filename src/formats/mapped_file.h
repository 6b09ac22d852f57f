// A file's bytes in memory, mapped or read.
// Owns: the memory. Thread: any, read-only. Never: opens anything but a regular file, or writes.
#pragma once

#include <cstddef>
#include <span>
#include <string>

#include "base/result.h"
#include "device/buffer.h"

namespace lorry::formats {

class MappedFile {
 public:
  // Takes no memory of its own, but whoever shortens the file while it is mapped ends this process
  // (SIGBUS): for the base model, and for files that Lorry itself wrote.
  static Result<MappedFile> Open(const std::string& path);

  // A copy: for files that come and go while the server runs. kDataLoss if it is shortened
  // meanwhile.
  static Result<MappedFile> Read(const std::string& path);

  MappedFile(MappedFile&& other) noexcept;
  MappedFile& operator=(MappedFile&& other) noexcept;
  ~MappedFile();

  std::span<const std::byte> bytes() const { return {data_, size_bytes_}; }
  const std::string& path() const { return path_; }

  // Of what is mapped: tells the system that the pages wholly inside `range` are not needed soon:
  // they leave resident memory and come back from the file when touched.
  void ReleasePages(std::span<const std::byte> range) const;

 private:
  MappedFile(std::string path, const std::byte* data, size_t size_bytes)
      : path_(std::move(path)), data_(data), size_bytes_(size_bytes) {}
  bool is_copy() const { return copy_.data() != nullptr; }
  void Unmap();

  std::string path_;
  const std::byte* data_ = nullptr;
  size_t size_bytes_ = 0;
  Buffer copy_;  // what data_ points into, unless it is the mapping
};

// The whole of a small file as text; larger than max_bytes is refused.
Result<std::string> ReadSmallFile(const std::string& path, size_t max_bytes);

}  // namespace lorry::formats
