#include "adapters/sources/directory.h"

#include <sys/stat.h>
#include <xxhash.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <ctime>
#include <filesystem>
#include <thread>
#include <vector>

#include "formats/adapter_files.h"
#include "formats/file_descriptor.h"

namespace lorry::adapters {
namespace {

tl::unexpected<Error> Failed(int error, const std::string& path) {
  tl::unexpected<Error> failure = formats::SystemFailure(path, error);
  failure.value().param = "source";
  if (failure.value().code == ErrorCode::kUnavailable) {
    failure.value().code = ErrorCode::kSourceFailed;
  }
  return failure;
}

// What tells one version of a file from the next without reading it.
std::string Identity(std::string_view name, const struct stat& info) {
  return fmt::format("{}\n{}\n{}.{:09}\n{}\n", name, info.st_size, info.st_mtim.tv_sec,
                     info.st_mtim.tv_nsec, info.st_ino);
}

std::string Digest(std::string_view text) {
  const XXH128_hash_t hash = XXH3_128bits(text.data(), text.size());
  return fmt::format("{:016x}{:016x}", hash.high64, hash.low64);
}

Result<Fetched> Finish(Fetched fetched, std::string_view identities, const FetchRequest& request,
                       const SourceOptions& options) {
  if (fetched.bytes > options.max_bytes) {
    return Fail(ErrorCode::kTooLarge,
                fmt::format("{}: has {} bytes; the limit is {}", request.uri.text, fetched.bytes,
                            options.max_bytes),
                "source");
  }
  fetched.revision = Digest(identities);
  if (fetched.revision != request.known_revision) return fetched;
  return Fetched{.revision = std::move(fetched.revision), .unchanged = true};
}

Status CheckComplete(const std::string& dir, const std::vector<std::string_view>& names) {
  const auto has = [&](std::string_view name) {
    return std::find(names.begin(), names.end(), name) != names.end();
  };
  std::string_view missing;
  if (!has(formats::kAdapterWeightsFile) && !has(formats::kAdapterTorchFile)) {
    missing = formats::kAdapterWeightsFile;
  }
  if (!has(formats::kAdapterConfigFile)) missing = formats::kAdapterConfigFile;
  if (missing.empty()) return {};
  return Fail(ErrorCode::kNotFound, fmt::format("{}: has no {}", dir, missing), "source");
}

// A file system's clock may tick this slowly: of two writes within one tick the second leaves no
// trace in the time.
constexpr int64_t kTickNs = 10'000'000;

// Until another write would show.
void LetTick(int64_t last_written_ns) {
  struct timespec now;
  ::clock_gettime(CLOCK_REALTIME, &now);
  const int64_t age_ns = int64_t{now.tv_sec} * 1'000'000'000 + now.tv_nsec - last_written_ns;
  if (age_ns >= 0 && age_ns < kTickNs) {
    std::this_thread::sleep_for(std::chrono::nanoseconds(kTickNs - age_ns));
  }
}

}  // namespace

Result<Fetched> FetchDirectory(const FetchRequest& request, const SourceOptions& options) {
  const std::string& path = request.uri.location;
  struct stat info{};
  if (stat(path.c_str(), &info) != 0) return Failed(errno, path);
  if (S_ISREG(info.st_mode)) {
    if (ArchiveSuffix(path).empty()) {
      return Fail(ErrorCode::kInvalidArgument,
                  fmt::format("{}: is neither a directory nor an archive", path), "source");
    }
    const std::filesystem::path file(path);
    Fetched fetched{.dir = file.parent_path().string(), .archive = file.filename().string()};
    fetched.bytes = static_cast<uint64_t>(info.st_size);
    return Finish(std::move(fetched), Identity("", info), request, options);
  }
  if (!S_ISDIR(info.st_mode)) {
    return Fail(ErrorCode::kInvalidArgument,
                fmt::format("{}: is neither a directory nor an archive", path), "source");
  }
  Fetched fetched{.dir = path};
  std::vector<std::string_view> names;
  std::string identities;
  int64_t last_written_ns = 0;
  for (const std::string_view name : formats::AdapterFileNames()) {
    const std::string file = fmt::format("{}/{}", path, name);
    if (stat(file.c_str(), &info) != 0) {
      const int reason = errno;
      const bool is_link = lstat(file.c_str(), &info) == 0;  // to nothing: not the same as absent
      if ((reason == ENOENT || reason == ENOTDIR) && !is_link) continue;
      return Failed(reason, file);
    }
    names.push_back(name);
    fetched.bytes += static_cast<uint64_t>(info.st_size);
    identities += Identity(name, info);
    last_written_ns = std::max(last_written_ns,
                               int64_t{info.st_mtim.tv_sec} * 1'000'000'000 + info.st_mtim.tv_nsec);
  }
  RETURN_IF_ERROR(CheckComplete(path, names));
  LetTick(last_written_ns);
  return Finish(std::move(fetched), identities, request, options);
}

}  // namespace lorry::adapters
