#include "engine/residency.h"

#include <algorithm>
#include <utility>

#include "base/check.h"

namespace lorry::engine {
namespace {

// Of a copy from the host, until one has been timed: 2 GB/s.
constexpr double kBytesPerMicro = 2000;

}  // namespace

Residency::Residency(PagePool* pool, ResidencyOptions options, StartCopy start_copy, Free free)
    : pool_(pool), options_(options), start_copy_(std::move(start_copy)), free_(std::move(free)) {
  CHECK_LE(options.kv_floor_pages + options.adapter_floor_pages, pool->num_pages());
}

Residency::~Residency() {
  for (auto& [id, entry] : entries_) pool_->TakeBack(entry.pages);
}

Residency::Entry& Residency::Find(AdapterId id) {
  const auto found = entries_.find(id);
  CHECK(found != entries_.end());
  return found->second;
}

int Residency::PagesFor(size_t num_bytes) const {
  return static_cast<int>((num_bytes + pool_->page_bytes() - 1) / pool_->page_bytes());
}

void Residency::OnRequest(AdapterId id) {
  policy_.OnUse(id);
  if (IsResident(id)) ++stats_.num_hits;
}

Residency::Answer Residency::Want(const Image& image) {
  if (const auto found = entries_.find(image->id); found != entries_.end()) {
    SetWanted(image->id, found->second);
    return found->second.is_loading ? Answer::kLoading : Answer::kResident;
  }
  const int num_pages = PagesFor(image->blob.size());
  if (num_pages > max_pages()) return Answer::kTooLarge;
  if (num_loading_ >= options_.max_loading) return Answer::kLoading;  // its turn comes
  if (!MakeRoom(num_pages)) return Answer::kNoRoom;
  std::optional<PagePool::Lent> lent = pool_->Lend(num_pages);
  CHECK(lent.has_value());
  Entry& entry = entries_[image->id];
  entry.pages = std::move(lent->pages);
  const size_t bytes = num_pages * pool_->page_bytes();
  policy_.OnInsert(image->id, {.bytes = bytes,
                               .bring_back_us = static_cast<Micros>(bytes / kBytesPerMicro) + 1});
  policy_.Pin(image->id);  // while it is loading
  if (pinned_.contains(image->id)) {
    entry.is_pinned = true;
    policy_.Pin(image->id);
  }
  SetWanted(image->id, entry);
  ++num_loading_;
  ++stats_.num_loads;
  stats_.loaded_bytes += image->blob.size();
  stats_.num_pages += num_pages;
  if (!start_copy_(image, std::move(lent->touched))) return Answer::kLoading;
  OnCopied({image->id, AdapterCopy{image}});
  return Answer::kResident;
}

void Residency::SetWanted(AdapterId id, Entry& entry) {
  entry.wanted_round = round_;
  if (entry.is_wanted) return;
  entry.is_wanted = true;
  policy_.Pin(id);
  wanted_.push_back(id);
}

bool Residency::EndWants() {
  return std::erase_if(wanted_, [this](const AdapterId& id) {
           Entry& entry = Find(id);
           if (entry.wanted_round == round_) return false;
           entry.is_wanted = false;
           policy_.Unpin(id);
           DropIfIdle(id);
           return true;
         }) > 0;
}

const model::AdapterWeights* Residency::Enter(AdapterId id) {
  Entry& entry = Find(id);
  CHECK(!entry.is_loading);
  ++entry.num_running;
  policy_.Pin(id);
  return &*entry.copy.image->weights;
}

void Residency::Leave(AdapterId id) {
  Entry& entry = Find(id);
  CHECK_LT(0, entry.num_running);
  --entry.num_running;
  policy_.Unpin(id);
  DropIfIdle(id);
}

std::optional<Error> Residency::OnCopied(AdapterCopied copied) {
  Entry& entry = Find(copied.id);
  CHECK(entry.is_loading);
  entry.is_loading = false;
  --num_loading_;
  policy_.Unpin(copied.id);
  if (copied.copy) {
    entry.copy = std::move(*copied.copy);
    ++stats_.num_resident;
    stats_.num_bytes += entry.copy.num_bytes();
    DropIfIdle(copied.id);
    return std::nullopt;
  }
  Unpin(copied.id);
  if (entry.is_wanted) {
    policy_.Unpin(copied.id);
    std::erase(wanted_, copied.id);
  }
  Release(copied.id);
  return std::move(copied.copy.error());
}

void Residency::Pin(const Image& image) {
  if (!pinned_.insert(image->id).second) return;
  const auto found = entries_.find(image->id);
  if (found == entries_.end()) {
    to_load_.push_back(image);
    return;
  }
  found->second.is_pinned = true;
  policy_.Pin(image->id);
}

void Residency::Unpin(AdapterId id) {
  if (pinned_.erase(id) == 0) return;
  std::erase_if(to_load_, [id](const Image& image) { return image->id == id; });
  const auto found = entries_.find(id);
  if (found == entries_.end()) return;
  found->second.is_pinned = false;
  policy_.Unpin(id);
}

void Residency::Warm(const Image& image) {
  if (!entries_.contains(image->id)) to_load_.push_back(image);
}

void Residency::BeginWants() {
  ++round_;
  std::erase_if(to_load_, [this](const Image& image) {
    const Answer answer = Want(image);
    return entries_.contains(image->id) ||
           (answer == Answer::kNoRoom && !pinned_.contains(image->id));
  });
}

void Residency::Drop(AdapterId id) {
  Unpin(id);
  std::erase_if(to_load_, [id](const Image& image) { return image->id == id; });
  const auto found = entries_.find(id);
  if (found == entries_.end()) return;
  found->second.is_dropped = true;
  DropIfIdle(id);
}

void Residency::DropIfIdle(AdapterId id) {
  const Entry& entry = Find(id);
  if (!entry.is_dropped || entry.is_loading || entry.is_wanted || entry.num_running > 0) return;
  ++stats_.num_dropped;
  Release(id);
}

// The adapter is idle: no pins are left.
void Residency::Release(AdapterId id) {
  auto node = entries_.extract(id);
  Entry& entry = node.mapped();
  policy_.OnRemove(id);
  pool_->TakeBack(entry.pages);
  stats_.num_pages -= static_cast<int>(entry.pages.size());
  if (entry.copy.image == nullptr) return;  // its copy failed
  --stats_.num_resident;
  stats_.num_bytes -= entry.copy.num_bytes();
  free_(std::move(entry.copy));
}

bool Residency::MakeRoom(int num_pages) {
  const int beyond_limit = stats_.num_pages + num_pages - max_pages();
  const int missing = std::max(num_pages - pool_->num_free(), beyond_limit);
  if (missing <= 0) return true;
  const auto victims = policy_.Victims(missing * pool_->page_bytes());
  if (!victims) return false;
  for (const AdapterId& id : *victims) Release(id);
  stats_.num_evicted_for_adapters += victims->size();
  return true;
}

bool Residency::EvictForKv() {
  const std::optional<AdapterId> victim = policy_.Victim();
  if (!victim) return false;
  const int num_pages = static_cast<int>(Find(*victim).pages.size());
  if (stats_.num_pages - num_pages < options_.adapter_floor_pages) return false;
  Release(*victim);
  ++stats_.num_evicted_for_kv;
  return true;
}

int Residency::num_evictable_pages() const {
  // With a floor the last victim may be too large to leave: then fewer are promised.
  int pages = static_cast<int>(policy_.idle_bytes() / pool_->page_bytes());
  if (options_.adapter_floor_pages == 0) return pages;
  int largest = 0;
  for (const auto& [id, entry] : entries_) {
    largest = std::max(largest, static_cast<int>(entry.pages.size()));
  }
  const int above_floor = stats_.num_pages - options_.adapter_floor_pages;
  if (pages > above_floor) pages = above_floor - largest;
  return std::max(pages, 0);
}

int Residency::num_held_pages() const {
  const int idle = static_cast<int>(policy_.idle_bytes() / pool_->page_bytes());
  return std::max(stats_.num_pages - idle, options_.adapter_floor_pages);
}

bool Residency::IsResident(AdapterId id) const {
  const auto found = entries_.find(id);
  return found != entries_.end() && !found->second.is_loading;
}

std::vector<AdapterId> Residency::ResidentIds() const {
  std::vector<AdapterId> ids;
  for (const auto& [id, entry] : entries_) {
    if (!entry.is_loading) ids.push_back(id);
  }
  return ids;
}

void Residency::CheckInvariants() const {
  int pages = 0, loading = 0, resident = 0;
  size_t bytes = 0;
  for (const auto& [id, entry] : entries_) {
    pages += static_cast<int>(entry.pages.size());
    bytes += entry.copy.num_bytes();
    loading += entry.is_loading;
    resident += !entry.is_loading;
    CHECK_EQ(entry.is_pinned, pinned_.contains(id));
    CHECK_EQ(entry.is_wanted, std::count(wanted_.begin(), wanted_.end(), id) == 1);
  }
  CHECK_EQ(pages, stats_.num_pages);
  CHECK_EQ(pages, pool_->num_lent());
  CHECK_EQ(bytes, stats_.num_bytes);
  CHECK_EQ(loading, num_loading_);
  CHECK_EQ(resident, stats_.num_resident);
  CHECK_LE(pages, max_pages());
  CHECK_EQ(policy_.resident_bytes(), pages * pool_->page_bytes());
  policy_.CheckInvariants();
  pool_->CheckInvariants();
}

}  // namespace lorry::engine
