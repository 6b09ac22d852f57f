// An adapter's files as a directory on this machine, wherever they come from and whatever they are
// packed in.
// Owns: a source's staging directory, while the files are in use. Thread: any; blocks on disks and
// sockets. Two that want the same source take turns, in other processes too.
#pragma once

#include <filesystem>
#include <optional>
#include <string>

#include "adapters/sources/source.h"
#include "formats/file_lock.h"

namespace lorry::adapters {

struct SourceFiles {
  Fetched fetched;
  std::string dir;  // empty: the source has `known_revision` still
  std::optional<formats::FileLock> lock;
};

enum class Packed { kKeep, kUnpack };

// kKeep: `dir` may hold an archive in place of the files (fetched.archive).
Result<SourceFiles> BringSourceFiles(const FetchRequest& request, const SourceOptions& options,
                                     Packed packed);

// What kKeep left to do, which takes the processor: an archive is unpacked and a torch file
// converted, in the staging directory. Nothing where that has been done.
Status UnpackSourceFiles(const FetchRequest& request, const SourceOptions& options,
                         SourceFiles& files);

// What nobody went on with for a day goes, and the oldest beyond `max_bytes`; locks stay.
void PruneStaging(const std::string& cache_dir, uint64_t max_bytes);

// Of all files in a directory and those in it.
uint64_t BytesBelow(const std::filesystem::path& dir);

}  // namespace lorry::adapters
