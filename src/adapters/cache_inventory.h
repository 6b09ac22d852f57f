// What lies in an adapter cache, and how it is put in order, while servers and other commands use
// it: files appear and go as a whole, and who has one open keeps it.
// Owns: nothing. Thread: any; blocks on the disk. Never: touches the cache of the Hub.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "adapters/adapter_file.h"
#include "base/result.h"

namespace lorry::adapters {

// An adapter ready to copy into a server.
struct CachedImage {
  std::string path;
  ImageFileInfo info;
  bool is_kept = false;                // pinned on this disk (disk_cache.h)
  std::vector<std::string> names;      // registered under them
  std::vector<std::string> sources;    // that held it when they were last read
  std::vector<std::string> revisions;  // of these
};

// A source's files as they were fetched, or a part of them.
struct CachedFiles {
  std::string source;
  std::string dir;
  uint64_t num_bytes = 0;
  int64_t last_used_s = 0;  // Unix time
};

struct CacheInventory {
  std::vector<CachedImage> images;  // both: the last used first
  std::vector<CachedFiles> files;
};

// A cache that is not there is empty.
Result<CacheInventory> ListCache(const std::string& cache_dir);

// What `word` means: a registered name, a source as it is listed, or eight or more digits that an
// image's id begins with.
CacheInventory Select(const CacheInventory& inventory, std::string_view word);

// Removes the files, and what the registries know of the images' sources; names stay registered.
// kUnavailable: a source's files are being fetched.
Status RemoveFromCache(const std::string& cache_dir, const CacheInventory& removed);

// So that no cache evicts it to make room; and no longer.
Status SetKept(const CachedImage& image, bool is_kept);

}  // namespace lorry::adapters
