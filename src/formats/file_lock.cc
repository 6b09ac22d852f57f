#include "formats/file_lock.h"

#include <fcntl.h>
#include <sys/file.h>

#include <cerrno>
#include <chrono>
#include <thread>

namespace lorry::formats {

Result<std::optional<FileLock>> FileLock::TryAcquire(const std::string& path) {
  FileDescriptor fd(::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0666));
  if (fd.get() < 0) return SystemFailure(path, errno);
  while (::flock(fd.get(), LOCK_EX | LOCK_NB) != 0) {
    if (errno == EWOULDBLOCK) return std::optional<FileLock>();
    // A file system without locks: a single process is as safe as before.
    if (errno == ENOLCK || errno == EOPNOTSUPP) break;
    if (errno != EINTR) return SystemFailure(path, errno);
  }
  return std::optional<FileLock>(FileLock(std::move(fd)));
}

Result<FileLock> FileLock::Acquire(const std::string& path, const std::atomic<bool>* cancelled,
                                   const std::function<void()>& on_wait) {
  constexpr std::chrono::milliseconds kPause(20);
  for (;;) {
    ASSIGN_OR_RETURN(std::optional<FileLock> lock, TryAcquire(path));
    if (lock) return std::move(*lock);
    if (cancelled != nullptr && *cancelled) {
      return Fail(ErrorCode::kCancelled, fmt::format("{}: cancelled", path));
    }
    if (on_wait) on_wait();
    std::this_thread::sleep_for(kPause);
  }
}

}  // namespace lorry::formats
