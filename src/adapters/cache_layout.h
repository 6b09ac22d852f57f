// Where things are in the adapter cache, a directory that servers and commands share.
// Owns: nothing. Thread: any. Pure.
#pragma once

#include <fmt/format.h>

#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>

#include "adapters/sources/source_uri.h"
#include "formats/content_hash.h"

namespace lorry::adapters {

// Images of all bases, each base's in a directory of its own (disk_cache.h).
inline std::string ImagesDir(const std::string& cache_dir) { return cache_dir + "/images"; }

// Of all that says what is read, a URL's query included: no two sources share it.
inline std::string SourceDigest(const SourceUri& uri) {
  const auto part = [](std::string_view name, std::string_view text) {
    return formats::ContentPart{name, std::as_bytes(std::span(text))};
  };
  const formats::ContentPart parts[] = {part("kind", SourceKindName(uri.kind)),
                                        part("location", uri.location), part("path", uri.path),
                                        part("revision", uri.revision)};
  return formats::HashAdapterContent(parts).Hex();
}

// A source's key in the registry file: as it is shown, and where that leaves something out of a
// URL, with the digest of the whole.
inline std::string SourceKey(const SourceUri& uri) {
  if (uri.kind != SourceKind::kHttp || uri.text == uri.location) return uri.text;
  return fmt::format("{}#{}", uri.text, SourceDigest(uri));
}

// What is known with one base (registry_file.h).
inline std::string RegistryPath(const std::string& cache_dir, uint64_t base) {
  return fmt::format("{}/registry-{:016x}.json", cache_dir, base);
}

// Where a source's files are on their way, and stay, unless they have a cache of their own (the
// Hub's).
inline std::string StagingDir(const std::string& cache_dir, const SourceUri& uri) {
  return fmt::format("{}/staging/{}", cache_dir, SourceDigest(uri));
}
// Beside it: who holds this works there. It says which source that is, for people.
inline std::string StagingLockPath(const std::string& staging_dir) { return staging_dir + ".lock"; }

// Beside an image that is to stay: an empty file.
inline std::string KeepMarkPath(const std::string& image_path) { return image_path + ".keep"; }
inline bool IsKept(const std::string& image_path) {
  std::error_code error;
  return std::filesystem::exists(KeepMarkPath(image_path), error);
}

}  // namespace lorry::adapters
