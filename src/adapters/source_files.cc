#include "adapters/source_files.h"

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <utility>
#include <vector>

#include "adapters/cache_layout.h"
#include "formats/adapter_files.h"
#include "formats/archive.h"
#include "formats/file_descriptor.h"
#include "formats/torch_file.h"

namespace lorry::adapters {
namespace {

namespace fs = std::filesystem;

// Nothing is staged of a directory that is here already.
bool IsStaged(const SourceUri& uri) {
  return uri.kind != SourceKind::kDirectory || !ArchiveSuffix(uri.location).empty();
}

Result<formats::FileLock> LockStaging(const FetchRequest& request) {
  std::error_code error;
  const fs::path dir = request.staging_dir;
  fs::create_directories(dir.parent_path(), error);
  if (error) {
    return Fail(ErrorCode::kPermission,
                fmt::format("{}: {}", dir.parent_path().string(), error.message()), "source");
  }
  const std::string path = StagingLockPath(request.staging_dir);
  // Whoever counts the time of a fetch counts this too.
  const auto on_wait = [&request] {
    if (request.progress) request.progress(0, 0);
  };
  auto lock = formats::FileLock::Acquire(path, request.cancelled, on_wait);
  if (lock) std::ofstream(path) << request.uri.text << "\n";  // `lorry ls` reads it
  return lock;
}

Status MakeEmpty(const std::string& dir) {
  std::error_code error;
  fs::remove_all(dir, error);
  fs::create_directories(dir, error);
  return error ? formats::SystemFailure(dir, error.value()) : Status();
}

Result<std::string> Unpack(const std::string& archive, const FetchRequest& request,
                           uint64_t max_bytes) {
  const std::string target = request.staging_dir + "/unpacked";
  RETURN_IF_ERROR(MakeEmpty(target));
  RETURN_IF_ERROR(formats::ExtractArchive(
      archive, target, {.limits = {.max_bytes = max_bytes}, .cancelled = request.cancelled}));
  return target;
}

bool NeedsConversion(const fs::path& dir) {
  std::error_code error;
  return fs::exists(dir / formats::kAdapterTorchFile, error) &&
         !fs::exists(dir / formats::kAdapterWeightsFile, error);
}

// A directory with the converted weights, and links to everything beside them.
Result<std::string> Convert(const fs::path& from, const FetchRequest& request, uint64_t max_bytes) {
  const std::string target = request.staging_dir + "/converted";
  RETURN_IF_ERROR(MakeEmpty(target));
  for (const std::string_view name : formats::AdapterFileNames()) {
    std::error_code error, ignored;
    if (name == formats::kAdapterTorchFile || !fs::exists(from / name, ignored)) continue;
    const fs::path link = fs::path(target) / name;
    fs::create_directories(link.parent_path(), error);
    if (!error) fs::create_symlink(fs::absolute(from / name, ignored), link, error);
    if (error) return formats::SystemFailure(link, error.value());
  }
  RETURN_IF_ERROR(formats::ConvertTorchFile(from / formats::kAdapterTorchFile,
                                            fs::path(target) / formats::kAdapterWeightsFile,
                                            {.max_bytes = max_bytes}));
  return target;
}

}  // namespace

Result<SourceFiles> BringSourceFiles(const FetchRequest& request, const SourceOptions& options,
                                     Packed packed) {
  SourceFiles files;
  if (IsStaged(request.uri)) {
    ASSIGN_OR_RETURN(files.lock, LockStaging(request));
  }
  ASSIGN_OR_RETURN(files.fetched, Fetch(request, options));
  files.dir = files.fetched.dir;
  if (packed == Packed::kUnpack) RETURN_IF_ERROR(UnpackSourceFiles(request, options, files));
  return files;
}

Status UnpackSourceFiles(const FetchRequest& request, const SourceOptions& options,
                         SourceFiles& files) {
  if (files.fetched.unchanged) return {};
  if (!files.fetched.archive.empty()) {
    const std::string archive = fmt::format("{}/{}", files.fetched.dir, files.fetched.archive);
    ASSIGN_OR_RETURN(files.dir, Unpack(archive, request, options.max_bytes));
  }
  if (!NeedsConversion(files.dir)) return {};
  if (!files.lock) {
    ASSIGN_OR_RETURN(files.lock, LockStaging(request));
  }
  ASSIGN_OR_RETURN(files.dir, Convert(files.dir, request, options.max_bytes));
  return {};
}

uint64_t BytesBelow(const fs::path& dir) {
  uint64_t bytes = 0;
  std::error_code error;
  for (fs::recursive_directory_iterator entry(dir, error), end; !error && entry != end;
       entry.increment(error)) {
    std::error_code entry_error;
    if (!entry->is_regular_file(entry_error)) continue;
    const uint64_t num_bytes = entry->file_size(entry_error);
    if (!entry_error) bytes += num_bytes;
  }
  return bytes;
}

void PruneStaging(const std::string& cache_dir, uint64_t max_bytes) {
  constexpr auto kKeptFor = std::chrono::hours(24);
  const auto now = fs::file_time_type::clock::now();
  std::error_code error;
  std::vector<std::pair<fs::file_time_type, fs::path>> dirs;
  for (fs::directory_iterator entry(cache_dir + "/staging", error), end; !error && entry != end;
       entry.increment(error)) {
    std::error_code entry_error;
    if (!entry->is_directory(entry_error)) continue;
    const auto changed = entry->last_write_time(entry_error);
    if (!entry_error) dirs.emplace_back(changed, entry->path());
  }
  std::sort(dirs.begin(), dirs.end(), std::greater());
  uint64_t kept_bytes = 0;
  for (const auto& [changed, dir] : dirs) {
    kept_bytes += BytesBelow(dir);
    if (kept_bytes <= max_bytes && now - changed < kKeptFor) continue;
    const auto lock = formats::FileLock::TryAcquire(StagingLockPath(dir));
    if (lock && *lock) fs::remove_all(dir, error);
  }
}

}  // namespace lorry::adapters
