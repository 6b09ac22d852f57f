#include "adapters/source_files.h"

#include <filesystem>

#include "formats/archive.h"

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
  return formats::FileLock::Acquire(request.staging_dir + ".lock", request.cancelled);
}

Result<std::string> Unpack(const Fetched& fetched, const FetchRequest& request) {
  const std::string target = request.staging_dir + "/unpacked";
  std::error_code error;
  fs::remove_all(target, error);
  RETURN_IF_ERROR(formats::ExtractArchive(fmt::format("{}/{}", fetched.dir, fetched.archive),
                                          target, {.cancelled = request.cancelled}));
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
  if (files.fetched.unchanged) return files;
  files.dir = files.fetched.dir;
  if (packed == Packed::kUnpack && !files.fetched.archive.empty()) {
    ASSIGN_OR_RETURN(files.dir, Unpack(files.fetched, request));
  }
  return files;
}

}  // namespace lorry::adapters
