#include "formats/file_descriptor.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <system_error>

#include "base/background.h"
#include "base/log.h"

namespace lorry::formats {
namespace {

ErrorCode CodeOf(int reason) {
  switch (reason) {
    case ENOENT:
    case ENOTDIR:
      return ErrorCode::kNotFound;
    case ELOOP:
      return ErrorCode::kUnfit;
    case EACCES:
    case EPERM:
    case EROFS:
      return ErrorCode::kPermission;
    case EEXIST:
    case ENOTEMPTY:
      return ErrorCode::kConflict;
    case ENOSPC:
    case EDQUOT:
    case EFBIG:
    case EMFILE:
    case ENFILE:
      return ErrorCode::kResourceExhausted;
    default:
      return ErrorCode::kUnavailable;
  }
}

int64_t ModifiedNs(const struct stat& status) {
  return int64_t{status.st_mtim.tv_sec} * 1'000'000'000 + status.st_mtim.tv_nsec;
}

}  // namespace

FileDescriptor::~FileDescriptor() {
  if (fd_ >= 0) ::close(fd_);
}

bool FileDescriptor::Close() { return ::close(std::exchange(fd_, -1)) == 0; }

tl::unexpected<Error> SystemFailure(const std::string& path, int reason) {
  // A cache whose blob is gone, a volume that is not there: the name itself is not missing.
  std::error_code error;
  if (reason == ENOENT && std::filesystem::is_symlink(path, error)) {
    const std::string target = std::filesystem::read_symlink(path, error);
    return Fail(ErrorCode::kUnfit, fmt::format("{}: a link to nothing ({})", path, target));
  }
  return Fail(CodeOf(reason), fmt::format("{}: {}", path, std::generic_category().message(reason)));
}

Result<OpenedFile> OpenRegular(const std::string& path) {
  if (path.find('\0') != std::string::npos) {
    return Fail(ErrorCode::kInvalidArgument, "a path with a zero byte");
  }
  // O_NONBLOCK: opening a pipe that nobody writes to must not hang; for a regular file it means
  // nothing.
  FileDescriptor fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  if (fd.get() < 0) return SystemFailure(path, errno);
  struct stat status;
  if (::fstat(fd.get(), &status) != 0) return SystemFailure(path, errno);
  if (!S_ISREG(status.st_mode)) {
    return Fail(ErrorCode::kUnfit, fmt::format("{}: not a regular file", path));
  }
  constexpr uint64_t kBlockBytes = 512;  // of st_blocks, whatever the file system's are
  return OpenedFile{std::move(fd), static_cast<uint64_t>(status.st_size), ModifiedNs(status),
                    static_cast<uint64_t>(status.st_blocks) * kBlockBytes};
}

bool IsMostlyHoles(const OpenedFile& file) {
  constexpr uint64_t kLargeBytes = uint64_t{1} << 20;  // small files may lie beside their names
  return file.size_bytes >= kLargeBytes && file.stored_bytes < file.size_bytes / 2;
}

void WarnOfHoles(const OpenedFile& file, const std::string& path) {
  if (!IsMostlyHoles(file)) return;
  log::Warning(
      "{}: {} of its {} bytes are on the disk, the rest are holes; was its download completed?",
      path, file.stored_bytes, file.size_bytes);
}

Status CheckUnchanged(const OpenedFile& file, const std::string& path) {
  struct stat status;
  if (::fstat(file.fd.get(), &status) != 0) return SystemFailure(path, errno);
  if (static_cast<uint64_t>(status.st_size) != file.size_bytes) {
    return Fail(ErrorCode::kDataLoss, fmt::format("{}: has {} bytes, it had {} when it was opened",
                                                  path, status.st_size, file.size_bytes));
  }
  if (ModifiedNs(status) == file.modified_ns) return {};
  return Fail(ErrorCode::kDataLoss,
              fmt::format("{}: was written to since it was opened; what was read of it before and "
                          "what it holds now do not belong together",
                          path));
}

Result<size_t> ReadAt(const FileDescriptor& fd, const std::string& path, uint64_t offset,
                      std::span<std::byte> out) {
  constexpr size_t kPiece = size_t{512} << 10;
  size_t done = 0;
  while (done < out.size()) {
    LetOthersRun();
    const ssize_t count = ::pread(fd.get(), out.data() + done, std::min(out.size() - done, kPiece),
                                  static_cast<off_t>(offset + done));
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return SystemFailure(path, errno);
    if (count == 0) break;
    done += static_cast<size_t>(count);
  }
  return done;
}

}  // namespace lorry::formats
