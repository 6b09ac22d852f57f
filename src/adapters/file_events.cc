#include "adapters/file_events.h"

#include <poll.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <system_error>

namespace lorry::adapters {
namespace {

constexpr uint32_t kMask = IN_CREATE | IN_DELETE | IN_MOVED_FROM | IN_MOVED_TO | IN_MODIFY |
                           IN_CLOSE_WRITE | IN_ATTRIB | IN_DELETE_SELF | IN_MOVE_SELF;

// File systems that other machines write to as well (linux/magic.h, and their own headers).
bool IsOnNetwork(const std::string& path) {
  struct statfs status;
  if (::statfs(path.c_str(), &status) != 0) return false;
  constexpr uint32_t kTypes[] = {0x6969,      /* NFS */
                                 0x517B,      /* SMB */
                                 0xFF534D42,  /* CIFS */
                                 0xFE534D42,  /* SMB 2 */
                                 0x65735546,  /* FUSE */
                                 0x01021997,  /* 9P */
                                 0x00C36400,  /* Ceph */
                                 0x0BD00BD0,  /* Lustre */
                                 0x47504653,  /* GPFS */
                                 0x5346414F}; /* AFS */
  return std::ranges::find(kTypes, static_cast<uint32_t>(status.f_type)) != std::end(kTypes);
}

std::string Reason(int code) { return std::generic_category().message(code); }

}  // namespace

FileEvents::FileEvents(size_t max_watches)
    : events_(::inotify_init1(IN_NONBLOCK | IN_CLOEXEC)),
      wake_(::eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC)),
      max_watches_(max_watches) {
  if (!works()) reason_ = "inotify: " + Reason(errno);
}

int FileEvents::Add(const std::string& path) {
  if (!works() || is_full_) return -1;
  const int watch = ::inotify_add_watch(events_.get(), path.c_str(), kMask);
  if (watch < 0) {
    if (errno != ENOSPC) return -1;  // it is not there, or nobody may read it
    says_all_ = false;
    reason_ = "the limit fs.inotify.max_user_watches is reached";
    return -1;
  }
  if (watches_.size() >= max_watches_ && !watches_.contains(watch)) {
    ::inotify_rm_watch(events_.get(), watch);
    is_full_ = true;
    says_all_ = false;
    reason_ = "more directories than are watched";
    return -1;
  }
  watches_.insert(watch);
  if (IsOnNetwork(path)) {
    says_all_ = false;
    reason_ = "a network's file system does not tell of them";
  }
  return watch;
}

void FileEvents::Remove(int watch) {
  ::inotify_rm_watch(events_.get(), watch);  // it may have gone by itself, with what it watched
  watches_.erase(watch);
  is_full_ = false;
}

void FileEvents::AddAnew() {
  is_full_ = false;
  says_all_ = true;
}

std::vector<FileEvent> FileEvents::Wait(std::chrono::milliseconds limit) {
  pollfd fds[] = {{wake_.get(), POLLIN, 0}, {events_.get(), POLLIN, 0}};
  std::vector<FileEvent> found;
  if (::poll(fds, works() ? 2 : 1, static_cast<int>(limit.count())) <= 0) return found;
  uint64_t ignored = 0;
  [[maybe_unused]] const ssize_t woken = ::read(wake_.get(), &ignored, sizeof(ignored));
  if (!works()) return found;
  alignas(inotify_event) char bytes[64 << 10];
  // What is left stays in the system's queue, and what that has no place for it tells as lost.
  while (found.size() < kMaxEvents) {
    const ssize_t count = ::read(events_.get(), bytes, sizeof(bytes));
    if (count <= 0) break;
    for (ssize_t at = 0; at < count;) {
      inotify_event event;
      std::memcpy(&event, bytes + at, sizeof(event));
      const char* name = bytes + at + sizeof(event);
      const bool is_lost = (event.mask & IN_Q_OVERFLOW) != 0;
      const bool is_gone = (event.mask & IN_IGNORED) != 0;
      if (is_gone && watches_.erase(event.wd) > 0) is_full_ = false;
      found.push_back(
          {is_lost ? -1 : event.wd, event.len > 0 ? std::string(name) : std::string(), is_gone});
      at += static_cast<ssize_t>(sizeof(event) + event.len);
    }
  }
  return found;
}

void FileEvents::Wake() {
  const uint64_t one = 1;
  [[maybe_unused]] const ssize_t written = ::write(wake_.get(), &one, sizeof(one));
}

}  // namespace lorry::adapters
