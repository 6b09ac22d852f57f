#include "formats/mapped_file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <utility>

namespace lorry::formats {
namespace {

// Closes on every way out.
class FileDescriptor {
 public:
  explicit FileDescriptor(int fd) : fd_(fd) {}
  FileDescriptor(FileDescriptor&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  ~FileDescriptor() {
    if (fd_ >= 0) ::close(fd_);
  }
  int get() const { return fd_; }

 private:
  int fd_;
};

struct OpenedFile {
  FileDescriptor fd;
  size_t size_bytes;
};

Result<OpenedFile> OpenRegular(const std::string& path) {
  if (path.find('\0') != std::string::npos) {
    return Fail(ErrorCode::kInvalidArgument, fmt::format("{:?}: a path with a zero byte", path));
  }
  // O_NONBLOCK: opening a pipe that nobody writes to must not hang; for a regular file it means
  // nothing.
  FileDescriptor fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  if (fd.get() < 0) {
    const int reason = errno;
    ErrorCode code = ErrorCode::kUnavailable;
    if (reason == ENOENT || reason == ENOTDIR) code = ErrorCode::kNotFound;
    if (reason == EACCES || reason == EPERM) code = ErrorCode::kPermission;
    return Fail(code, fmt::format("{}: {}", path, std::strerror(reason)));
  }
  struct stat status;
  if (::fstat(fd.get(), &status) != 0) {
    return Fail(ErrorCode::kUnavailable, fmt::format("{}: {}", path, std::strerror(errno)));
  }
  if (!S_ISREG(status.st_mode)) {
    return Fail(ErrorCode::kInvalidArgument, fmt::format("{}: not a regular file", path));
  }
  return OpenedFile{std::move(fd), static_cast<size_t>(status.st_size)};
}

}  // namespace

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

MappedFile::MappedFile(MappedFile&& other) noexcept
    : path_(std::move(other.path_)),
      data_(std::exchange(other.data_, nullptr)),
      size_bytes_(std::exchange(other.size_bytes_, 0)) {}

MappedFile& MappedFile::operator=(MappedFile&& other) noexcept {
  if (this == &other) return *this;
  Unmap();
  path_ = std::move(other.path_);
  data_ = std::exchange(other.data_, nullptr);
  size_bytes_ = std::exchange(other.size_bytes_, 0);
  return *this;
}

MappedFile::~MappedFile() { Unmap(); }

void MappedFile::Unmap() {
  if (data_ != nullptr) ::munmap(const_cast<std::byte*>(data_), size_bytes_);
  data_ = nullptr;
}

void MappedFile::ReleasePages(std::span<const std::byte> range) const {
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
  size_t done = 0;
  while (done < text.size()) {
    const ssize_t count = ::read(file.fd.get(), text.data() + done, text.size() - done);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) {
      return Fail(ErrorCode::kUnavailable, fmt::format("{}: {}", path, std::strerror(errno)));
    }
    if (count == 0) break;  // it was shortened meanwhile
    done += static_cast<size_t>(count);
  }
  text.resize(done);
  return text;
}

}  // namespace lorry::formats
