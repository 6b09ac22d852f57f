#include "adapters/sources/directory.h"

#include <sys/stat.h>
#include <xxhash.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <system_error>

#include "formats/adapter_files.h"

namespace lorry::adapters {
namespace {

tl::unexpected<Error> SystemFailure(int error, std::string_view path) {
  ErrorCode code = ErrorCode::kInternal;
  if (error == ENOENT || error == ENOTDIR) code = ErrorCode::kNotFound;
  if (error == EACCES || error == EPERM) code = ErrorCode::kPermission;
  return Fail(code, fmt::format("{}: {}", path, std::generic_category().message(error)), "source");
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

Result<std::vector<std::string>> AdapterFilesIn(const std::string& dir) {
  std::error_code error;
  std::filesystem::directory_iterator entry(dir, error);
  std::vector<std::string> names;
  for (; !error && entry != std::filesystem::directory_iterator(); entry.increment(error)) {
    std::string name = entry->path().filename().string();
    if (formats::IsAdapterFile(name)) names.push_back(std::move(name));
  }
  if (error) return SystemFailure(error.value(), dir);
  std::sort(names.begin(), names.end());
  return names;
}

Status CheckComplete(const std::string& dir, const std::vector<std::string>& names) {
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

}  // namespace

Result<Fetched> FetchDirectory(const FetchRequest& request, const SourceOptions& options) {
  const std::string& path = request.uri.location;
  struct stat info{};
  if (stat(path.c_str(), &info) != 0) return SystemFailure(errno, path);
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
  ASSIGN_OR_RETURN(const std::vector<std::string> names, AdapterFilesIn(path));
  RETURN_IF_ERROR(CheckComplete(path, names));
  Fetched fetched{.dir = path};
  std::string identities;
  for (const std::string& name : names) {
    const std::string file = path + "/" + name;
    if (stat(file.c_str(), &info) != 0) return SystemFailure(errno, file);
    fetched.bytes += static_cast<uint64_t>(info.st_size);
    identities += Identity(name, info);
  }
  return Finish(std::move(fetched), identities, request, options);
}

}  // namespace lorry::adapters
