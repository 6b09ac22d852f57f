// A lock between processes: whoever holds it alone works on what its file stands for. The system
// releases it when the holder ends, however it ends.
// Owns: the open file. Thread: any. Never: removes the file; others may be about to lock it.
#pragma once

#include <atomic>
#include <functional>
#include <optional>
#include <string>

#include "base/result.h"
#include "formats/file_descriptor.h"

namespace lorry::formats {

class FileLock {
 public:
  // Waits its turn; the file is made where it is missing, its directory must exist. kCancelled.
  // Two locks of one process exclude each other too. `on_wait` is called many times a second.
  static Result<FileLock> Acquire(const std::string& path,
                                  const std::atomic<bool>* cancelled = nullptr,
                                  const std::function<void()>& on_wait = {});
  // nullopt: somebody else holds it.
  static Result<std::optional<FileLock>> TryAcquire(const std::string& path);

 private:
  explicit FileLock(FileDescriptor fd) : fd_(std::move(fd)) {}

  FileDescriptor fd_;
};

}  // namespace lorry::formats
