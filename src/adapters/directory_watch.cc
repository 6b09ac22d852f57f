#include "adapters/directory_watch.h"

#include <fmt/format.h>
#include <sys/vfs.h>

#include <algorithm>
#include <filesystem>
#include <future>

#include "base/background.h"
#include "base/log.h"
#include "base/thread_name.h"

namespace lorry::adapters {
namespace {

namespace fs = std::filesystem;

// File systems that other machines write to as well (linux/magic.h, and their own headers).
bool IsOnNetwork(const std::string& dir) {
  struct statfs status;
  if (::statfs(dir.c_str(), &status) != 0) return false;
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

WatchHooks HooksOf(Catalogue& catalogue, FileEvents& events) {
  return {.found = [&](const std::string& name,
                       const std::string& dir) { catalogue.SyncWatched(name, dir); },
          .gone = [&](const std::string& name) { catalogue.RemoveWatched(name); },
          .say = [](const std::string& line) { log::Warning("adapter directory {}", line); },
          .follow = [&](const std::string& path) { return events.Add(path); },
          .unfollow = [&](int watch) { events.Remove(watch); }};
}

}  // namespace

Result<std::unique_ptr<DirectoryWatch>> DirectoryWatch::Start(std::vector<std::string> dirs,
                                                              Catalogue& catalogue) {
  for (std::string& dir : dirs) {
    std::error_code error;
    if (!fs::is_directory(dir, error)) {
      return Fail(ErrorCode::kNotFound, fmt::format("--adapter-dir {}: no such directory", dir),
                  "adapter-dir");
    }
    dir = fs::absolute(dir, error);
    while (dir.size() > 1 && dir.ends_with('/')) dir.pop_back();
  }
  auto watch = std::unique_ptr<DirectoryWatch>(new DirectoryWatch(std::move(dirs), catalogue));
  watch->tree_.Begin(Clock::Steady().NowUs());
  std::promise<void> known;
  catalogue.List([&known](const auto&) { known.set_value(); });  // after what it has been told
  known.get_future().wait();
  watch->thread_ = std::thread([raw = watch.get()] { raw->Run(); });
  return watch;
}

DirectoryWatch::DirectoryWatch(std::vector<std::string> dirs, Catalogue& catalogue)
    : is_on_network_(std::ranges::any_of(dirs, IsOnNetwork)),
      tree_(std::move(dirs), HooksOf(catalogue, events_)) {}

DirectoryWatch::~DirectoryWatch() {
  stopping_ = true;
  events_.Wake();
  if (thread_.joinable()) thread_.join();
}

// Of looking at everything.
Micros DirectoryWatch::PeriodUs() {
  constexpr Micros kPeriodUs = 60'000'000, kAlonePeriodUs = 20'000'000;
  if (events_.works() && !events_.is_full() && !is_on_network_) return kPeriodUs;
  if (!std::exchange(has_said_, true)) {
    log::Warning(
        "adapter directories: changes may be seen only after {} s: {}",
        kAlonePeriodUs / 1'000'000 + 1,
        is_on_network_ ? "a network's file system does not tell of them" : events_.reason());
  }
  return kAlonePeriodUs;
}

void DirectoryWatch::Run() {
  constexpr Micros kRootsPeriodUs = 500'000;
  // What happens at once is handled at once.
  constexpr std::chrono::milliseconds kGather(20);
  NameThisThread("adapter-watch");
  BecomeBackgroundThread();
  const Clock& clock = Clock::Steady();
  Micros looked_us = clock.NowUs();
  while (!stopping_) {
    const Micros all_us = looked_us + PeriodUs();
    Micros now_us = clock.NowUs();
    const Micros next_us = std::min({tree_.next_us(), all_us, now_us + kRootsPeriodUs});
    const Micros left_us = std::max<Micros>(next_us - now_us, 0);
    const auto events = events_.Wait(std::chrono::milliseconds((left_us + 999) / 1000));
    if (stopping_) return;
    now_us = clock.NowUs();
    bool looks_at_all = now_us >= all_us;
    for (const FileEvent& event : events) {
      looks_at_all |= event.watch < 0;
      if (event.watch < 0) continue;
      tree_.OnEvent(event.watch, event.name, now_us);
      if (event.is_watch_gone) tree_.OnWatchGone(event.watch);
    }
    if (looks_at_all) {
      looked_us = now_us;
      tree_.LookAtAll(now_us);
    }
    tree_.LookAtRoots(now_us);
    tree_.LookAtDue(now_us);
    if (!events.empty()) std::this_thread::sleep_for(kGather);
  }
}

}  // namespace lorry::adapters
