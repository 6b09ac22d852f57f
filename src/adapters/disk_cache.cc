#include "adapters/disk_cache.h"

#include <algorithm>
#include <charconv>
#include <filesystem>
#include <utility>
#include <vector>

#include "adapters/cache_layout.h"
#include "base/log.h"
#include "formats/output_file.h"

namespace lorry::adapters {
namespace {

namespace fs = std::filesystem;

// What bringing a file back took is not known after a restart: as if from a disk of 1 GB/s.
constexpr double kBytesPerMicro = 1000;

std::optional<AdapterId> IdOf(const std::string& file_name, uint64_t base) {
  AdapterId id;
  for (size_t i = 0; i < id.bytes.size(); ++i) {
    const char* digits = file_name.data() + 2 * i;
    if (file_name.size() < 2 * id.bytes.size() ||
        std::from_chars(digits, digits + 2, id.bytes[i], 16).ptr != digits + 2) {
      return std::nullopt;
    }
  }
  if (file_name != ImageFileName({id, base})) return std::nullopt;
  return id;
}

}  // namespace

Result<DiskCache> DiskCache::Open(const std::string& dir, uint64_t base, size_t max_bytes) {
  DiskCache cache(fmt::format("{}/{:016x}", dir, base), base, max_bytes);
  if (max_bytes == 0) return cache;
  std::error_code error;
  fs::create_directories(cache.dir_, error);
  if (error) {
    return Fail(ErrorCode::kPermission,
                fmt::format("adapter cache {}: {}", cache.dir_, error.message()), "adapter-cache");
  }
  cache.Scan();
  return cache;
}

DiskCache::DiskCache(std::string dir, uint64_t base, size_t max_bytes)
    : dir_(std::move(dir)), base_(base), max_bytes_(max_bytes) {}

void DiskCache::Scan() {
  struct Found {
    fs::file_time_type used;
    AdapterId id;
    size_t num_bytes;
  };
  std::vector<Found> found;
  std::error_code error;
  for (fs::directory_iterator entry(dir_, error), end; !error && entry != end;
       entry.increment(error)) {
    const std::string name = entry->path().filename();
    if (name.ends_with(".part")) formats::RemoveIfAbandoned(entry->path());
    const auto id = IdOf(name, base_);
    std::error_code entry_error;  // others may remove it meanwhile
    if (!id || !entry->is_regular_file(entry_error)) continue;
    const size_t num_bytes = entry->file_size(entry_error);
    if (entry_error || num_bytes == 0) continue;
    const auto used = entry->last_write_time(entry_error);
    if (!entry_error) found.push_back({used, *id, num_bytes});
  }
  if (error) log::Warning("adapter cache: {}: {}", dir_, error.message());
  std::sort(found.begin(), found.end(), [](const Found& a, const Found& b) {
    return std::tie(a.used, a.id) < std::tie(b.used, b.id);
  });
  for (const Found& file : found) {
    // A file that is replaced meanwhile may have been listed twice.
    if (!files_.try_emplace(file.id, File{.state = State::kReady}).second) continue;
    policy_->OnInsert(file.id,
                      {.bytes = file.num_bytes,
                       .bring_back_us = static_cast<Micros>(file.num_bytes / kBytesPerMicro) + 1});
  }
  FollowMarks();
  while (policy_->resident_bytes() > max_bytes_) {
    const auto victim = policy_->Victim();
    if (!victim) break;
    Erase(*victim);
    ++num_evicted_;
  }
}

bool DiskCache::Contains(const AdapterId& id) const {
  const auto file = files_.find(id);
  return file != files_.end() && file->second.state == State::kReady;
}

std::string DiskCache::PathOf(const AdapterId& id) const {
  return fmt::format("{}/{}", dir_, ImageFileName({id, base_}));
}

bool DiskCache::Reserve(const AdapterId& id, size_t num_bytes, Micros bring_back_us) {
  if (num_bytes > max_bytes_ || files_.contains(id)) return false;
  const size_t after = policy_->resident_bytes() + num_bytes;
  if (after > max_bytes_) {
    // Marks may have come and gone since the last look.
    const auto changed = [this](const AdapterId& id) { return FollowMark(id); };
    auto victims = policy_->Victims(after - max_bytes_);
    if (!victims || std::any_of(victims->begin(), victims->end(), changed)) {
      FollowMarks();
      victims = policy_->Victims(after - max_bytes_);
    }
    if (!victims) return false;
    for (const AdapterId& victim : *victims) Erase(victim);
    num_evicted_ += victims->size();
  }
  files_[id] = File();
  policy_->OnInsert(id, {.bytes = num_bytes, .bring_back_us = std::max<Micros>(bring_back_us, 1)});
  policy_->Pin(id);
  return true;
}

void DiskCache::Written(const AdapterId& id) {
  files_[id].state = State::kReady;
  policy_->Unpin(id);
  FollowMark(id);
}

void DiskCache::Abandoned(const AdapterId& id) {
  policy_->Unpin(id);
  Erase(id);
}

void DiskCache::Pin(const AdapterId& id) {
  ++files_[id].num_readers;
  policy_->Pin(id);
}

void DiskCache::Unpin(const AdapterId& id) {
  File& file = files_[id];
  policy_->Unpin(id);
  if (--file.num_readers == 0 && file.state == State::kBroken) Erase(id);
}

void DiskCache::Remove(const AdapterId& id) {
  const auto found = files_.find(id);
  if (found == files_.end() || found->second.state == State::kWriting) return;
  if (found->second.num_readers == 0) return Erase(id);
  found->second.state = State::kBroken;
}

// Whether it has changed.
bool DiskCache::FollowMark(const AdapterId& id) {
  File& file = files_[id];
  const bool is_kept = IsKept(PathOf(id));
  if (std::exchange(file.is_kept, is_kept) == is_kept) return false;
  is_kept ? policy_->Pin(id) : policy_->Unpin(id);
  return true;
}

void DiskCache::FollowMarks() {
  for (auto& [id, file] : files_) {
    if (file.state == State::kReady) FollowMark(id);
  }
}

void DiskCache::Erase(const AdapterId& id) {
  if (files_[id].is_kept) policy_->Unpin(id);
  files_.erase(id);
  policy_->OnRemove(id);
  std::error_code error;
  fs::remove(PathOf(id), error);
  if (error) log::Warning("adapter cache: {}: {}", PathOf(id), error.message());
}

DiskCacheStats DiskCache::stats() const {
  return {files_.size(), policy_->resident_bytes(), num_evicted_};
}

}  // namespace lorry::adapters
