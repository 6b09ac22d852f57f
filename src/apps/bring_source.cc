#include "apps/bring_source.h"

#include <filesystem>

#include "adapters/cache_layout.h"
#include "apps/adapter_arguments.h"
#include "apps/environment.h"
#include "apps/interrupts.h"
#include "apps/progress.h"

namespace lorry::apps {

Result<std::string> BringSourceHere(const std::string& source, const BringOptions& options,
                                    adapters::SourceFiles& files) {
  std::error_code error;
  if (std::filesystem::is_directory(source, error)) return source;
  ASSIGN_OR_RETURN(const adapters::SourceUri uri, ParseSourceWord(source));
  if (uri.kind == adapters::SourceKind::kDirectory &&
      !std::filesystem::exists(uri.location, error)) {
    return Fail(ErrorCode::kNotFound, fmt::format("{}: no such directory", source));
  }
  adapters::SourceOptions sources;
  sources.allow_private_hosts = options.allow_private_hosts;
  ReadSourceVariables(sources);
  const std::string temporary = std::filesystem::temp_directory_path(error).string() + "/lorry";
  const std::string root = AdapterCacheDir(options.adapter_cache).value_or(temporary);
  Progress progress("fetching " + uri.text);
  ASSIGN_OR_RETURN(
      files, adapters::BringSourceFiles(
                 {.uri = uri,
                  .token = options.token,
                  .staging_dir = adapters::StagingDir(root, uri),
                  .cancelled = &CatchInterrupts(),
                  .progress = [&](uint64_t done, uint64_t total) { progress.Update(done, total); }},
                 sources, adapters::Packed::kUnpack));
  return files.dir;
}

}  // namespace lorry::apps
