// Where things are in the adapter cache, a directory that servers and commands share.
// Owns: nothing. Thread: any. Pure.
#pragma once

#include <fmt/format.h>

#include <cstdint>
#include <functional>
#include <string>

#include "adapters/sources/source_uri.h"

namespace lorry::adapters {

// Images of all bases, each base's in a directory of its own (disk_cache.h).
inline std::string ImagesDir(const std::string& cache_dir) { return cache_dir + "/images"; }

// What is known with one base (registry_file.h).
inline std::string RegistryPath(const std::string& cache_dir, uint64_t base) {
  return fmt::format("{}/registry-{:016x}.json", cache_dir, base);
}

// Where a source's files are on their way, and stay, unless they have a cache of their own (the
// Hub's).
inline std::string StagingDir(const std::string& cache_dir, const SourceUri& uri) {
  return fmt::format("{}/staging/{:016x}", cache_dir, std::hash<std::string>()(uri.text));
}

}  // namespace lorry::adapters
