#include "formats/mapped_file.h"

#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <utility>

#include "formats/file_descriptor.h"

namespace lorry::formats {
Result<MappedFile> MappedFile::Open(const std::string& path) {
  ASSIGN_OR_RETURN(const OpenedFile file, OpenRegular(path));
  if (file.size_bytes == 0) return MappedFile(path, nullptr, 0);
  void* data = ::mmap(nullptr, file.size_bytes, PROT_READ, MAP_PRIVATE, file.fd.get(), 0);
  if (data == MAP_FAILED) {
    return Fail(ErrorCode::kUnavailable, fmt::format("{}: cannot map {} bytes: {}", path,
                                                     file.size_bytes, std::strerror(errno)));
  }
  return MappedFile(path, static_cast<const std::byte*>(data), file.size_bytes);
}

Result<MappedFile> MappedFile::Read(const std::string& path) {
  ASSIGN_OR_RETURN(const OpenedFile file, OpenRegular(path));
  auto buffer = Buffer::AllocateUnzeroed(file.size_bytes);
  if (!buffer) return Annotate(std::move(buffer.error()), path);
  ASSIGN_OR_RETURN(const size_t num_read,
                   ReadAt(file.fd, path, 0, {buffer->data(), file.size_bytes}));
  if (num_read < file.size_bytes) {
    return Fail(ErrorCode::kDataLoss, fmt::format("{}: was shortened from {} to {} bytes while it "
                                                  "was read",
                                                  path, file.size_bytes, num_read));
  }
  MappedFile copy(path, buffer->data(), file.size_bytes);
  copy.copy_ = std::move(*buffer);
  return copy;
}

MappedFile::MappedFile(MappedFile&& other) noexcept
    : path_(std::move(other.path_)),
      data_(std::exchange(other.data_, nullptr)),
      size_bytes_(std::exchange(other.size_bytes_, 0)),
      copy_(std::move(other.copy_)) {}

MappedFile& MappedFile::operator=(MappedFile&& other) noexcept {
  if (this == &other) return *this;
  Unmap();
  path_ = std::move(other.path_);
  data_ = std::exchange(other.data_, nullptr);
  size_bytes_ = std::exchange(other.size_bytes_, 0);
  copy_ = std::move(other.copy_);
  return *this;
}

MappedFile::~MappedFile() { Unmap(); }

void MappedFile::Unmap() {
  if (data_ != nullptr && !is_copy()) ::munmap(const_cast<std::byte*>(data_), size_bytes_);
  data_ = nullptr;
}

void MappedFile::ReleasePages(std::span<const std::byte> range) const {
  if (is_copy()) return;
  const uintptr_t page_bytes = static_cast<uintptr_t>(::sysconf(_SC_PAGESIZE));
  const uintptr_t begin = reinterpret_cast<uintptr_t>(range.data());
  const uintptr_t first = (begin + page_bytes - 1) / page_bytes * page_bytes;
  const uintptr_t last = (begin + range.size()) / page_bytes * page_bytes;
  if (first < last) ::madvise(reinterpret_cast<void*>(first), last - first, MADV_DONTNEED);
}

Result<std::string> ReadSmallFile(const std::string& path, size_t max_bytes) {
  ASSIGN_OR_RETURN(const OpenedFile file, OpenRegular(path));
  if (file.size_bytes > max_bytes) {
    return Fail(ErrorCode::kTooLarge,
                fmt::format("{}: {} bytes, the limit is {}", path, file.size_bytes, max_bytes));
  }
  std::string text(file.size_bytes, '\0');
  ASSIGN_OR_RETURN(const size_t done,
                   ReadAt(file.fd, path, 0, std::as_writable_bytes(std::span(text))));
  text.resize(done);  // less if it was shortened meanwhile
  return text;
}

}  // namespace lorry::formats
