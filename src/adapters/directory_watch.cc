#include "adapters/directory_watch.h"

#include <fmt/format.h>

#include <chrono>
#include <filesystem>
#include <future>
#include <set>

#include "base/background.h"
#include "base/log.h"
#include "base/thread_name.h"
#include "formats/safetensors.h"

namespace lorry::adapters {
namespace {

namespace fs = std::filesystem;

constexpr auto kPeriod = std::chrono::milliseconds(400);
constexpr int kMaxDepth = 3;  // "run/step/adapter"

// Names, sizes and times of the files of a directory; empty: it holds no adapter (yet).
std::string StateOf(const fs::path& dir) {
  std::error_code error;
  std::set<std::string> files;
  for (fs::directory_iterator entry(dir, error), end; !error && entry != end;
       entry.increment(error)) {
    if (!entry->is_regular_file(error)) continue;
    files.insert(fmt::format("{} {} {}\n", entry->path().filename().string(),
                             entry->file_size(error),
                             entry->last_write_time(error).time_since_epoch().count()));
  }
  const bool has_config = fs::exists(dir / "adapter_config.json", error);
  const bool has_weights = fs::exists(dir / "adapter_model.safetensors", error) ||
                           fs::exists(dir / "adapter_model.bin", error);
  std::string state;
  if (has_config && has_weights) {
    for (const std::string& file : files) state += file;
  }
  return state;
}

// A file that is still being copied is shorter than its header says.
bool IsComplete(const fs::path& dir) {
  std::error_code error;
  const fs::path weights = dir / "adapter_model.safetensors";
  return !fs::exists(weights, error) || formats::SafetensorsHeader::Read(weights).has_value();
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
  }
  auto watch = std::unique_ptr<DirectoryWatch>(new DirectoryWatch(std::move(dirs), catalogue));
  watch->Look(true);
  std::promise<void> known;
  catalogue.List([&known](const auto&) { known.set_value(); });  // after what Look has told it
  known.get_future().wait();
  watch->thread_ = std::thread([raw = watch.get()] { raw->Run(); });
  return watch;
}

DirectoryWatch::DirectoryWatch(std::vector<std::string> dirs, Catalogue& catalogue)
    : dirs_(std::move(dirs)), catalogue_(catalogue) {}

DirectoryWatch::~DirectoryWatch() {
  stopping_ = true;
  stop_.Close();
  if (thread_.joinable()) thread_.join();
}

void DirectoryWatch::Run() {
  NameThisThread("adapter-watch");
  BecomeBackgroundThread();
  while (!stopping_) {
    stop_.WaitFor(kPeriod);
    if (!stopping_) Look(false);
  }
}

// What lies in `dir`, and in its directories to some depth: PEFT saves several adapters of one
// model beside each other in sub-directories.
void DirectoryWatch::LookInto(const std::string& dir, const std::string& prefix, int depth,
                              bool is_first, std::set<std::string>& present) {
  std::error_code error;
  for (fs::directory_iterator entry(dir, error), end; !error && entry != end;
       entry.increment(error)) {
    const std::string name = prefix + entry->path().filename().string();
    std::error_code entry_error;
    if (!entry->is_directory(entry_error) || !CheckAdapterName(name)) continue;
    LookAt(name, entry->path(), is_first, present);
    if (depth > 1) LookInto(entry->path(), name + "/", depth - 1, is_first, present);
  }
}

void DirectoryWatch::LookAt(const std::string& name, const std::string& dir, bool is_first,
                            std::set<std::string>& present) {
  std::string state = StateOf(dir);
  if (state.empty() || !present.insert(name).second) return;
  Seen& seen = seen_[name];
  const bool is_new_state = seen.state != state || seen.dir != dir;
  if (is_new_state) seen = {dir, std::move(state), false};
  // Whoever copies may be in the middle: wait for a round without a change.
  if (seen.is_told || (is_new_state && !is_first) || !IsComplete(dir)) return;
  seen.is_told = true;
  catalogue_.SyncWatched(name, seen.dir);
  log::Info("adapter {}: found in {}", name, dir);
}

void DirectoryWatch::Look(bool is_first) {
  std::set<std::string> present;
  for (const std::string& dir : dirs_) LookInto(dir, "", kMaxDepth, is_first, present);
  std::erase_if(seen_, [&](const auto& seen) {
    if (present.contains(seen.first)) return false;
    if (seen.second.is_told) {
      catalogue_.RemoveWatched(seen.first);
      log::Info("adapter {}: gone from {}", seen.first, seen.second.dir);
    }
    return true;
  });
}

}  // namespace lorry::adapters
