#include "merge/output_directory.h"

#include <fmt/core.h>
#include <stdlib.h>
#include <sys/stat.h>

#include <cerrno>
#include <cstdio>
#include <filesystem>
#include <utility>

#include "formats/file_descriptor.h"
#include "formats/output_file.h"

namespace lorry::merge {
namespace {

namespace fs = std::filesystem;

// Room for the small files beside the weights, and for what the file system itself takes.
constexpr uint64_t kSpareBytes = 1 << 20;

// Without a "/" at its end, which would make the partial directory one inside it.
std::string Normalized(const std::string& dir) {
  const fs::path path = fs::path(dir).lexically_normal();
  return (path.has_filename() ? path : path.parent_path()).string();
}

fs::path ParentOf(const std::string& path) {
  const fs::path parent = fs::path(path).parent_path();
  return parent.empty() ? "." : parent;
}

}  // namespace

Status CheckOutput(const std::string& dir, uint64_t needed_bytes) {
  if (dir.empty()) return Fail(ErrorCode::kInvalidArgument, "where to? -o DIR");
  const std::string path = Normalized(dir);
  std::error_code error;
  const fs::file_status status = fs::symlink_status(path, error);
  if (fs::exists(status) && !fs::is_directory(status)) {
    return Fail(ErrorCode::kConflict, fmt::format("{}: is there, and is no directory", path));
  }
  if (fs::exists(status) && !fs::is_empty(path, error)) {
    return Fail(
        ErrorCode::kConflict,
        error ? fmt::format("{}: {}", path, error.message())
              : fmt::format("{}: is not empty; name a directory that is not there yet", path));
  }
  const fs::path parent = ParentOf(path);
  if (!fs::is_directory(parent, error)) {
    return Fail(ErrorCode::kNotFound, fmt::format("{}: no such directory", parent.string()));
  }
  const fs::space_info space = fs::space(parent, error);
  if (!error && space.available < needed_bytes + kSpareBytes) {
    return Fail(ErrorCode::kResourceExhausted,
                fmt::format("{}: {} bytes are needed, its file system has {} free", path,
                            needed_bytes + kSpareBytes, space.available));
  }
  return {};
}

Result<OutputDirectory> OutputDirectory::Create(const std::string& dir, uint64_t needed_bytes) {
  RETURN_IF_ERROR(CheckOutput(dir, needed_bytes));
  std::string path = Normalized(dir);
  std::string partial_path = path + ".tmp-XXXXXX";
  if (::mkdtemp(partial_path.data()) == nullptr) return formats::SystemFailure(path, errno);
  OutputDirectory directory(std::move(path), std::move(partial_path));
  // mkdtemp's directories are for the owner alone; this one is to be as mkdir makes them.
  const mode_t mask = ::umask(0);
  ::umask(mask);
  if (::chmod(directory.partial_path_.c_str(), 0777 & ~mask) != 0) {
    return formats::SystemFailure(directory.partial_path_, errno);
  }
  return directory;
}

OutputDirectory::OutputDirectory(OutputDirectory&& other) noexcept
    : path_(std::move(other.path_)), partial_path_(std::exchange(other.partial_path_, {})) {}

OutputDirectory::~OutputDirectory() {
  if (partial_path_.empty()) return;
  std::error_code ignored;
  fs::remove_all(partial_path_, ignored);
}

Status OutputDirectory::Publish() {
  RETURN_IF_ERROR(formats::SyncDirectory(partial_path_));
  // An empty directory is replaced; one that has got something in it meanwhile is not.
  if (std::rename(partial_path_.c_str(), path_.c_str()) != 0) {
    return formats::SystemFailure(path_, errno);
  }
  partial_path_.clear();
  return formats::SyncDirectory(ParentOf(path_).string());
}

}  // namespace lorry::merge
