#include "apps/bring_source.h"

#include <filesystem>

#include "adapters/cache_layout.h"
#include "apps/adapter_arguments.h"
#include "apps/environment.h"
#include "apps/interrupts.h"
#include "apps/progress.h"
#include "formats/adapter_files.h"
#include "formats/file_lock.h"

namespace lorry::apps {
namespace {

namespace fs = std::filesystem;

adapters::SourceOptions SourcesOf(const BringOptions& options) {
  adapters::SourceOptions sources;
  sources.allow_private_hosts = options.allow_private_hosts;
  ReadSourceVariables(sources);
  return sources;
}

// What a failure left there, unless somebody else works there by now.
void RemoveUnused(const std::string& staging_dir) {
  std::error_code error;
  const auto lock = formats::FileLock::TryAcquire(adapters::StagingLockPath(staging_dir));
  if (lock && *lock) fs::remove_all(staging_dir, error);
}

}  // namespace

BroughtSources::~BroughtSources() {
  std::error_code error;
  for (const auto& [staging_dir, staged] : staged_) {
    if (staged.is_local && staged.files.lock) fs::remove_all(staging_dir, error);
  }
}

Result<BroughtSource> BroughtSources::Bring(const std::string& source,
                                            const BringOptions& options) {
  std::error_code error;
  if (fs::is_directory(source, error) &&
      !exists(fs::symlink_status(fs::path(source) / formats::kAdapterConfigFile, error))) {
    return BroughtSource{.dir = source, .shown = source};
  }
  ASSIGN_OR_RETURN(const adapters::SourceUri uri, ParseSourceWord(source));
  const bool is_local = uri.kind == adapters::SourceKind::kDirectory;
  if (is_local && !fs::exists(uri.location, error)) {
    return Fail(ErrorCode::kNotFound, fmt::format("{}: no such directory", source));
  }
  const std::string shown = is_local ? source : uri.text;
  const std::string temporary = fs::temp_directory_path(error).string() + "/lorry";
  const std::string root = AdapterCacheDir(options.adapter_cache).value_or(temporary);
  const std::string staging_dir = adapters::StagingDir(root, uri);
  if (const auto known = staged_.find(staging_dir); known != staged_.end()) {
    return BroughtSource{.dir = known->second.files.dir, .shown = shown};
  }
  Progress progress("fetching " + uri.text);
  auto files = adapters::BringSourceFiles(
      {.uri = uri,
       .token = options.token,
       .staging_dir = staging_dir,
       .cancelled = &CatchInterrupts(),
       .progress = [&](uint64_t done, uint64_t total) { progress.Update(done, total); }},
      SourcesOf(options), adapters::Packed::kUnpack);
  if (!files) {
    if (is_local) RemoveUnused(staging_dir);
    return tl::unexpected<Error>(std::move(files.error()));
  }
  if (files->dir == uri.location) files->dir = source;  // in messages as it was written
  BroughtSource brought = {.dir = files->dir, .shown = shown};
  staged_.emplace(staging_dir, Staged{std::move(*files), is_local});
  return brought;
}

}  // namespace lorry::apps
