#include "formats/output_file.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstdio>

#include "base/check.h"

namespace lorry::formats {
namespace {

// Distinct within the process; across processes the process id and O_EXCL see to it.
std::string NextPartialPath(const std::string& path) {
  static std::atomic<uint64_t> counter{0};
  return fmt::format("{}.{}-{}.part", path, ::getpid(), counter.fetch_add(1));
}

// False: somebody took the new file for an abandoned one before it was locked.
bool LockNew(const FileDescriptor& fd) {
  struct stat status;
  ::flock(fd.get(), LOCK_EX | LOCK_NB);  // not everywhere are there locks; then nobody has any
  return ::fstat(fd.get(), &status) == 0 && status.st_nlink > 0;
}

}  // namespace

void RemoveIfAbandoned(const std::string& partial_path) {
  const FileDescriptor fd(::open(partial_path.c_str(), O_RDWR | O_CLOEXEC | O_NOFOLLOW));
  if (fd.get() < 0 || ::flock(fd.get(), LOCK_EX | LOCK_NB) != 0) return;
  ::unlink(partial_path.c_str());
}

OutputFile::OutputFile(std::string path, std::string partial_path, FileDescriptor fd)
    : path_(std::move(path)), partial_path_(std::move(partial_path)), fd_(std::move(fd)) {}

OutputFile::OutputFile(OutputFile&& other) noexcept
    : path_(std::move(other.path_)),
      partial_path_(std::exchange(other.partial_path_, {})),
      fd_(std::move(other.fd_)) {}

OutputFile::~OutputFile() {
  if (!partial_path_.empty()) ::unlink(partial_path_.c_str());
}

Result<OutputFile> OutputFile::Create(std::string path) {
  for (;;) {
    std::string partial_path = NextPartialPath(path);
    FileDescriptor fd(::open(partial_path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666));
    if (fd.get() >= 0 && !LockNew(fd)) continue;
    if (fd.get() >= 0) return OutputFile(std::move(path), std::move(partial_path), std::move(fd));
    // An earlier process with this id left one when it crashed.
    if (errno != EEXIST) return SystemFailure(path, errno);
  }
}

Status OutputFile::Reserve(uint64_t size_bytes) {
  if (size_bytes == 0 || ::fallocate(fd_.get(), 0, 0, static_cast<off_t>(size_bytes)) == 0) {
    return {};
  }
  if (errno == EOPNOTSUPP || errno == ENOSYS || errno == EINTR) return {};
  return SystemFailure(path_, errno);
}

Status OutputFile::WriteAt(uint64_t offset, std::span<const std::byte> bytes) {
  CHECK(!partial_path_.empty());
  while (!bytes.empty()) {
    const ssize_t count =
        ::pwrite(fd_.get(), bytes.data(), bytes.size(), static_cast<off_t>(offset));
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return SystemFailure(path_, errno);
    bytes = bytes.subspan(static_cast<size_t>(count));
    offset += static_cast<uint64_t>(count);
  }
  return {};
}

Status OutputFile::WriteDirectAt(uint64_t offset, std::span<const std::byte> bytes) {
  constexpr size_t kBlock = 4096;
  const size_t whole = bytes.size() / kBlock * kBlock;
  const bool is_aligned =
      offset % kBlock == 0 && reinterpret_cast<uintptr_t>(bytes.data()) % kBlock == 0;
  const int flags = ::fcntl(fd_.get(), F_GETFL);
  if (!is_aligned || flags < 0 || ::fcntl(fd_.get(), F_SETFL, flags | O_DIRECT) != 0) {
    return WriteAt(offset, bytes);
  }
  const Status status = WriteAt(offset, bytes.first(whole));
  if (::fcntl(fd_.get(), F_SETFL, flags) != 0) return SystemFailure(path_, errno);
  // Some file systems take the flag and then refuse the write; an error of the disk comes again.
  return status ? WriteAt(offset + whole, bytes.subspan(whole)) : WriteAt(offset, bytes);
}

Status OutputFile::Sync() {
  if (::fdatasync(fd_.get()) != 0) return SystemFailure(path_, errno);
  return {};
}

Status OutputFile::Publish() {
  CHECK(!partial_path_.empty());
  // A network file system may report a full disk no earlier than here.
  if (!fd_.Close()) return SystemFailure(path_, errno);
  if (::rename(partial_path_.c_str(), path_.c_str()) != 0) return SystemFailure(path_, errno);
  partial_path_.clear();
  return {};
}

Status WriteTextFile(const std::string& path, std::string_view text, bool sync) {
  ASSIGN_OR_RETURN(OutputFile file, OutputFile::Create(path));
  RETURN_IF_ERROR(file.WriteAt(0, std::as_bytes(std::span(text))));
  if (sync) RETURN_IF_ERROR(file.Sync());
  return file.Publish();
}

Status SyncDirectory(const std::string& dir) {
  const FileDescriptor fd(::open(dir.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (fd.get() < 0 || ::fsync(fd.get()) != 0) return SystemFailure(dir, errno);
  return {};
}

}  // namespace lorry::formats
