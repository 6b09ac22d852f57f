#include "adapters/cache_inventory.h"

#include <sys/stat.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iterator>

#include "adapters/cache_layout.h"
#include "adapters/registry_file.h"
#include "adapters/source_files.h"
#include "formats/file_lock.h"
#include "formats/output_file.h"

namespace lorry::adapters {
namespace {

namespace fs = std::filesystem;

// What is in a directory, which others may change meanwhile.
std::vector<fs::path> EntriesOf(const fs::path& dir, std::error_code& error) {
  std::vector<fs::path> entries;
  for (fs::directory_iterator entry(dir, error), end; !error && entry != end;
       entry.increment(error)) {
    entries.push_back(entry->path());
  }
  return entries;
}

// Whether the registry's key is of this source; `uri` may leave out what only a digest says.
bool IsKeyOf(std::string_view key, const SourceUri& uri) {
  return key == SourceKey(uri) || key.substr(0, key.rfind('#')) == uri.text;
}

// Content has one id whatever it is made to fit.
void NameImages(const RegistryContent& registry, std::vector<CachedImage>& images) {
  for (CachedImage& image : images) {
    for (const auto& [text, source] : registry.sources) {
      if (source.id != image.info.key.id) continue;
      image.sources.push_back(text);
      image.revisions.push_back(source.revision);
      for (const RegisteredAdapter& adapter : registry.adapters) {
        const auto uri = ParseSourceUri(adapter.source);
        if (uri && SourceKey(*uri) == text) image.names.push_back(adapter.name);
      }
    }
  }
}

std::vector<std::string> RegistryPaths(const std::string& cache_dir) {
  std::vector<std::string> paths;
  std::error_code error;
  for (const fs::path& path : EntriesOf(cache_dir, error)) {
    const std::string name = path.filename();
    if (name.starts_with("registry-") && name.ends_with(".json")) paths.push_back(path);
  }
  return paths;
}

std::vector<CachedImage> ImagesIn(const fs::path& dir) {
  std::vector<CachedImage> images;
  std::error_code error;
  for (const fs::path& path : EntriesOf(dir, error)) {
    if (path.extension() != ".image") continue;
    const auto info = ReadImageFileInfo(path);
    if (!info) continue;  // of another version, broken, or gone meanwhile
    images.push_back({.path = path, .info = *info, .is_kept = IsKept(path)});
  }
  return images;
}

int64_t ModifiedAt(const std::string& path) {
  struct stat status;
  return ::stat(path.c_str(), &status) == 0 ? status.st_mtim.tv_sec : 0;
}

std::vector<CachedFiles> StagedFiles(const std::string& cache_dir) {
  std::vector<CachedFiles> files;
  std::error_code error;
  for (const fs::path& dir : EntriesOf(cache_dir + "/staging", error)) {
    if (!fs::is_directory(dir, error)) continue;
    const uint64_t num_bytes = BytesBelow(dir);
    if (num_bytes == 0) continue;  // the Hub's files are in its own cache
    CachedFiles staged = {
        .dir = dir, .num_bytes = num_bytes, .last_used_s = ModifiedAt(StagingLockPath(dir))};
    std::ifstream note(StagingLockPath(dir));
    std::getline(note, staged.source);
    files.push_back(std::move(staged));
  }
  return files;
}

Status RemoveFiles(const CachedFiles& files) {
  ASSIGN_OR_RETURN(const auto lock, formats::FileLock::TryAcquire(StagingLockPath(files.dir)));
  if (!lock) {
    return Fail(ErrorCode::kUnavailable,
                fmt::format("{}: is being fetched at the moment", files.source));
  }
  std::error_code error;
  fs::remove_all(files.dir, error);
  if (error) {
    return Fail(ErrorCode::kPermission, fmt::format("{}: {}", files.dir, error.message()));
  }
  return {};
}

Status RemoveImage(const std::string& cache_dir, const CachedImage& image) {
  for (const std::string& path : RegistryPaths(cache_dir)) {
    const auto changed = RegistryFile(path).Change([&](RegistryContent& content) {
      std::erase_if(content.sources,
                    [&](const auto& known) { return known.second.id == image.info.key.id; });
    });
    if (!changed) return tl::unexpected<Error>(changed.error());
  }
  RETURN_IF_ERROR(SetKept(image, false));
  std::error_code error;
  fs::remove(image.path, error);
  if (error) {
    return Fail(ErrorCode::kPermission, fmt::format("{}: {}", image.path, error.message()));
  }
  return {};
}

}  // namespace

Result<CacheInventory> ListCache(const std::string& cache_dir) {
  CacheInventory inventory;
  std::error_code error;
  const fs::path images_dir = ImagesDir(cache_dir);
  for (const fs::path& dir : EntriesOf(images_dir, error)) {
    std::ranges::move(ImagesIn(dir), std::back_inserter(inventory.images));
  }
  if (error && error != std::errc::no_such_file_or_directory) {
    return Fail(ErrorCode::kPermission, fmt::format("{}: {}", images_dir.string(), error.message()),
                "adapter-cache");
  }
  for (const std::string& path : RegistryPaths(cache_dir)) {
    const auto registry = RegistryFile(path).Read();
    if (registry) NameImages(*registry, inventory.images);
  }
  inventory.files = StagedFiles(cache_dir);
  std::sort(inventory.images.begin(), inventory.images.end(), [](const auto& a, const auto& b) {
    return std::tie(b.info.last_used_s, a.path) < std::tie(a.info.last_used_s, b.path);
  });
  std::sort(inventory.files.begin(), inventory.files.end(), [](const auto& a, const auto& b) {
    return std::tie(b.last_used_s, a.dir) < std::tie(a.last_used_s, b.dir);
  });
  return inventory;
}

CacheInventory Select(const CacheInventory& inventory, std::string_view word) {
  constexpr size_t kMinDigits = 8;
  const auto uri = ParseSourceUri(word);
  const auto is_source = [&](const std::string& key) {
    return key == word || (uri && IsKeyOf(key, *uri));
  };
  CacheInventory selected;
  for (const CachedImage& image : inventory.images) {
    const bool is_id = word.size() >= kMinDigits && image.info.key.id.Hex().starts_with(word);
    const bool is_named =
        std::find(image.names.begin(), image.names.end(), word) != image.names.end();
    if (is_id || is_named || std::any_of(image.sources.begin(), image.sources.end(), is_source)) {
      selected.images.push_back(image);
    }
  }
  for (const CachedFiles& files : inventory.files) {
    if (is_source(files.source)) selected.files.push_back(files);
  }
  return selected;
}

Status RemoveFromCache(const std::string& cache_dir, const CacheInventory& removed) {
  for (const CachedFiles& files : removed.files) RETURN_IF_ERROR(RemoveFiles(files));
  for (const CachedImage& image : removed.images) RETURN_IF_ERROR(RemoveImage(cache_dir, image));
  return {};
}

Status SetKept(const CachedImage& image, bool is_kept) {
  const std::string mark = KeepMarkPath(image.path);
  if (is_kept) return formats::WriteTextFile(mark, "", false);
  std::error_code error;
  fs::remove(mark, error);
  if (error) return Fail(ErrorCode::kPermission, fmt::format("{}: {}", mark, error.message()));
  return {};
}

}  // namespace lorry::adapters
