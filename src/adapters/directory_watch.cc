#include "adapters/directory_watch.h"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <future>

#include "base/background.h"
#include "base/log.h"
#include "base/thread_name.h"

namespace lorry::adapters {
namespace {

namespace fs = std::filesystem;

WatchHooks HooksOf(Catalogue& catalogue) {
  return {.found = [&](const std::string& name,
                       const std::string& dir) { catalogue.SyncWatched(name, dir); },
          .gone = [&](const std::string& name) { catalogue.RemoveWatched(name); },
          .broken = [&](const std::string& name,
                        const std::string& why) { catalogue.MarkWatched(name, why); },
          .say = [](const std::string& line) { log::Warning("adapter directory {}", line); },
          .follow = {},
          .unfollow = {}};
}

}  // namespace

Status DirectoryWatch::CheckDirectories(const std::vector<std::string>& dirs) {
  for (const std::string& dir : dirs) {
    std::error_code error;
    if (fs::is_directory(dir, error)) continue;
    return Fail(ErrorCode::kNotFound, fmt::format("--adapter-dir {}: no such directory", dir),
                "adapter-dir");
  }
  return {};
}

Result<std::unique_ptr<DirectoryWatch>> DirectoryWatch::Start(std::vector<std::string> dirs,
                                                              Catalogue& catalogue) {
  RETURN_IF_ERROR(CheckDirectories(dirs));
  for (std::string& dir : dirs) {
    std::error_code error;
    dir = fs::absolute(dir, error);
    while (dir.size() > 1 && dir.ends_with('/')) dir.pop_back();
  }
  auto watch = std::unique_ptr<DirectoryWatch>(new DirectoryWatch(std::move(dirs), catalogue));
  watch->rounds_.Begin(Clock::Steady().NowUs());
  std::promise<void> known;
  catalogue.List([&known](const auto&) { known.set_value(); });  // after what it has been told
  known.get_future().wait();
  watch->thread_ = std::thread([raw = watch.get()] { raw->Run(); });
  return watch;
}

DirectoryWatch::DirectoryWatch(std::vector<std::string> dirs, Catalogue& catalogue)
    : rounds_(std::move(dirs), HooksOf(catalogue)) {}

DirectoryWatch::~DirectoryWatch() {
  stopping_ = true;
  rounds_.Wake();
  if (thread_.joinable()) thread_.join();
}

void DirectoryWatch::Run() {
  // What happens at once is handled at once.
  constexpr std::chrono::milliseconds kGather(20);
  NameThisThread("adapter-watch");
  BecomeBackgroundThread();
  const Clock& clock = Clock::Steady();
  while (!stopping_) {
    const Micros now_us = clock.NowUs();
    const Micros left_us = std::max<Micros>(rounds_.NextUs(now_us) - now_us, 0);
    const bool is_told = rounds_.Wait(std::chrono::milliseconds((left_us + 999) / 1000));
    if (stopping_) return;
    rounds_.Round(clock.NowUs());
    if (is_told) std::this_thread::sleep_for(kGather);
  }
}

}  // namespace lorry::adapters
