// Takes one adapter out of a .tar, .tar.gz or .zip that somebody else made.
// Owns: a temporary directory beside the target while it works. Thread: any. Never: lets a name
// from the archive reach the file system, writes outside the target, or leaves half an adapter.
//
// Only regular files that an adapter has (adapter_files.h) are written, under the list's names,
// each folder of the archive into a numbered directory of our own; so `..`, absolute names and
// links have nothing to act on. They are refused all the same: whoever put them there meant no
// good.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "base/result.h"

namespace lorry::formats {

struct ArchiveLimits {
  // Of all that is unpacked; of a .tar.gz that includes what is passed over.
  uint64_t max_bytes = uint64_t{16} << 30;
  // Files, directories and everything else, wanted or not.
  size_t max_entries = 10'000;
  // Unpacked over packed size, beyond the first 64 MiB: trained weights hardly compress.
  uint64_t max_ratio = 100;
};

struct ExtractOptions {
  ArchiveLimits limits;
  // Where in the archive the adapter lies ("." for its top). Empty: it holds one, wherever.
  std::string subfolder;
  // Looked at every few hundred kB; when it is set the answer is kCancelled.
  const std::atomic<bool>* cancelled = nullptr;
};

struct ExtractedAdapter {
  std::string folder;              // its place in the archive, "." for the top
  std::vector<std::string> files;  // in target_dir, sorted
  uint64_t bytes = 0;              // all of them together
};

// target_dir must not exist, or be empty; its parent must exist. What the file is, its content
// says, not its name.
Result<ExtractedAdapter> ExtractArchive(const std::string& archive_path,
                                        const std::string& target_dir,
                                        const ExtractOptions& options = {});

}  // namespace lorry::formats
