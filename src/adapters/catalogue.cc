#include "adapters/catalogue.h"

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <iterator>
#include <utility>

#include "adapters/cache_layout.h"
#include "base/log.h"
#include "base/thread_name.h"
#include "formats/file_descriptor.h"

namespace lorry::adapters {
namespace {

namespace fs = std::filesystem;

// In pieces, each of use as soon as it is there.
void MakeReady(size_t num_bytes) {
  constexpr size_t kPieceBytes = size_t{64} << 20;
  while (num_bytes > 0 && Buffer::MakeSpare(std::min(num_bytes, kPieceBytes))) {
    num_bytes -= std::min(num_bytes, kPieceBytes);
  }
}

Error ShuttingDown() { return {ErrorCode::kUnavailable, "The server is shutting down.", ""}; }

}  // namespace

Result<std::unique_ptr<Catalogue>> Catalogue::Create(CatalogueOptions options, PoolHooks pool,
                                                     prometheus::Registry& registry) {
  const bool has_disk = !options.cache_dir.empty() && options.max_disk_bytes > 0;
  ASSIGN_OR_RETURN(DiskCache cache,
                   DiskCache::Open(ImagesDir(options.cache_dir), options.base.ImageBase(),
                                   has_disk ? options.max_disk_bytes : 0));
  RegistryFile file(has_disk ? RegistryPath(options.cache_dir, options.base.fingerprint) : "");
  auto catalogue = std::unique_ptr<Catalogue>(new Catalogue(
      std::move(options), std::move(pool), std::move(cache), std::move(file), registry));
  RETURN_IF_ERROR(catalogue->ChooseStaging());
  catalogue->RestoreRegistered();
  catalogue->Publish();
  catalogue->loaders_.Add([num_bytes = catalogue->options_.ready_bytes] { MakeReady(num_bytes); },
                          false);
  catalogue->thread_ = std::thread([raw = catalogue.get()] { raw->Run(); });
  return catalogue;
}

Catalogue::Catalogue(CatalogueOptions options, PoolHooks pool, DiskCache cache,
                     RegistryFile registry_file, prometheus::Registry& registry)
    : options_(std::move(options)),
      pool_(std::move(pool)),
      cache_(std::move(cache)),
      registry_file_(std::move(registry_file)),
      metrics_(registry),
      created_s_(UnixSeconds()),
      fetchers_("fetcher", options_.num_fetchers,
                [this](int idx) { Post([this, idx] { fetchers_.Dispatch(idx); }); }),
      loaders_("loader", options_.num_loaders,
               [this](int idx) { Post([this, idx] { loaders_.Dispatch(idx); }); }),
      writer_("writer", 1, [this](int idx) { Post([this, idx] { writer_.Dispatch(idx); }); }),
      registrar_("registrar", 1,
                 [this](int idx) { Post([this, idx] { registrar_.Dispatch(idx); }); }) {}

Catalogue::~Catalogue() {
  Stop();
  std::error_code error;
  if (!temporary_dir_.empty()) fs::remove_all(temporary_dir_, error);
}

Status Catalogue::ChooseStaging() {
  staging_root_ = options_.cache_dir;
  if (!staging_root_.empty()) {
    PruneStaging(staging_root_, options_.max_disk_bytes / kStagingShare);
    return {};
  }
  std::error_code error;
  temporary_dir_ = fs::temp_directory_path(error) / "lorry-XXXXXX";
  if (::mkdtemp(temporary_dir_.data()) == nullptr) {
    return formats::SystemFailure(std::exchange(temporary_dir_, {}), errno);
  }
  staging_root_ = temporary_dir_;
  return {};
}

void Catalogue::Stop() {
  if (stopping_.exchange(true)) return;
  Post([] {});
  if (thread_.joinable()) thread_.join();
  for (auto& [name, entry] : entries_) {
    if (entry.load) *entry.load->cancelled = true;
  }
  fetchers_.Stop();
  loaders_.Stop();
  writer_.Stop();
  registrar_.Stop();
  mailbox_->Close();
  std::vector<std::function<void()>> left;
  mailbox_->Drain(left);
  for (const auto& item : left) item();
  SaveAtTheEnd();
  for (auto& [name, entry] : entries_) {
    const LoadOrder order = CancelLoad(entry);
    for (auto& [number, waiter] : TakeWaiters(entry)) {
      waiter.wanting.done(tl::unexpected<Error>(ShuttingDown()));
    }
    for (const StatusCallback& done : order.done) done(tl::unexpected<Error>(ShuttingDown()));
  }
}

void Catalogue::Post(std::function<void()> work) { mailbox_->SendAlways(std::move(work)); }

void Catalogue::Run() {
  NameThisThread("catalogue");
  std::vector<std::function<void()>> work;
  while (!stopping_) {
    // The pool does not say when it changes.
    Micros next_us = show_loaded_us_;
    if (waiting_changed_) next_us = std::min(next_us, show_waiting_us_);
    if (!deadlines_.empty()) next_us = std::min(next_us, deadlines_.begin()->first);
    const Micros left_us = next_us - options_.clock->NowUs();
    if (left_us > 0) mailbox_->WaitFor(std::chrono::microseconds(left_us));
    mailbox_->Drain(work);
    for (const auto& item : work) item();
    loaded_changed_ |= !work.empty();
    FailOverdue();
    PublishIfChanged();
    ShowLoaded();
    ShowWaiting();
    if (registry_changed_ && saving_ == nullptr) SaveRegistry();
  }
}

void Catalogue::PublishIfChanged() {
  if (std::exchange(names_changed_, false)) Publish();
}

void Catalogue::Publish() {
  std::vector<AdapterCard> cards;
  for (const auto& [name, entry] : entries_) {
    if (entry.is_registered) cards.push_back({name, entry.uri.text, entry.created_s});
  }
  metrics_.SetNames(cards.size());
  directory_.Set(std::make_shared<const ModelDirectory>(options_.base_names, options_.base_root,
                                                        std::move(cards), options_.max_model_len,
                                                        created_s_));
  // After the names are: a request for one that is gone by now counts as a stranger's.
  if (!name_changes_.empty()) pool_.show_names(std::exchange(name_changes_, {}));
}

Status Catalogue::CheckName(const std::string& name) const {
  return CheckAdapterName(name, options_.base_names);
}

// Candidates and requested sources are nobody's to name.
Catalogue::Entries::iterator Catalogue::FindName(const std::string& name) {
  const auto found = entries_.find(name);
  const bool is_name =
      found != entries_.end() && !found->second.candidacy && !found->second.is_requested;
  return is_name ? found : entries_.end();
}

Catalogue::Entry& Catalogue::AddEntry(const std::string& name, const SourceUri& uri) {
  Entry& entry = entries_[name];
  entry.name = name;
  entry.uri = uri;
  entry.created_s = UnixSeconds();
  names_changed_ = true;
  return entry;
}

void Catalogue::MakeKnown(Entry& entry) {
  entry.is_registered = true;
  names_changed_ = true;
  name_changes_.push_back({entry.name, true});
}

void Catalogue::EraseEntry(Entries::iterator entry, const Error& reason) {
  const auto candidate = entries_.find(CandidateKeyOf(entry->first));
  if (candidate != entries_.end()) EraseEntry(candidate, reason);
  const LoadOrder order = CancelLoad(entry->second);
  for (auto& [number, waiter] : TakeWaiters(entry->second)) {
    waiter.wanting.done(tl::unexpected<Error>(reason));
  }
  for (const StatusCallback& done : order.done) done(tl::unexpected<Error>(reason));
  const AdapterId id = entry->second.id;
  if (entry->second.is_registered) name_changes_.push_back({entry->first, false});
  if (entry->second.is_requested) requested_.erase(entry->second.requested_at);
  entries_.erase(entry);
  DropContentIfUnnamed(id);
  names_changed_ = true;
  ServeGated();  // one of its requests may have stood in front
}

// ---- tiers

std::shared_ptr<const AdapterImage> Catalogue::HostImage(const AdapterId& id) {
  const auto content = contents_.find(id);
  if (content == contents_.end()) return nullptr;
  if (content->second.host != nullptr) return content->second.host;
  return content->second.used.lock();
}

void Catalogue::KeepOnHost(const std::shared_ptr<const AdapterImage>& image) {
  Content& content = contents_[image->id];
  if (content.host != nullptr) return;
  content.used = image;
  if (image->host_bytes() > options_.max_host_bytes) return;  // all others would leave for nothing
  content.host = image;
  host_policy_.OnInsert(image->id,
                        {.bytes = image->host_bytes(),
                         .bring_back_us = static_cast<Micros>(image->host_bytes() / 1000) + 1});
  TrimHost();
}

void Catalogue::TrimHost() {
  while (host_policy_.resident_bytes() > options_.max_host_bytes) {
    const auto victim = host_policy_.Victim();
    if (!victim) break;
    host_policy_.OnRemove(*victim);
    contents_[*victim].host = nullptr;
    ++num_host_evicted_;
  }
  metrics_.SetHost(host_policy_.num_resident(), host_policy_.resident_bytes(), num_host_evicted_);
}

bool Catalogue::IsNamed(const AdapterId& id, bool by_pinned) const {
  return std::any_of(entries_.begin(), entries_.end(), [&](const auto& entry) {
    return entry.second.id == id && (entry.second.is_pinned || !by_pinned);
  });
}

void Catalogue::DropContentIfUnnamed(const AdapterId& id) {
  if (id.IsBase()) return;
  if (IsNamed(id, false)) return SyncPin(id);
  contents_.erase(id);
  host_policy_.Forget(id);
  metrics_.SetHost(host_policy_.num_resident(), host_policy_.resident_bytes(), num_host_evicted_);
  pool_.drop(id);
}

// In the page pool content is pinned while one of its names is.
void Catalogue::SyncPin(const AdapterId& id) {
  const auto content = contents_.find(id);
  if (content == contents_.end()) return;
  const bool is_pinned = IsNamed(id, true);
  const auto image = HostImage(id);
  if (is_pinned == content->second.is_pinned || (is_pinned && image == nullptr)) return;
  content->second.is_pinned = is_pinned;
  if (is_pinned) {
    pool_.pin(image);
  } else {
    pool_.unpin(id);
  }
}

// At once; what earlier calls want, whose loads are still under way, does not come after it.
void Catalogue::SetPin(Entry& entry, bool is_pinned) {
  for (const std::string& key : {entry.name, CandidateKeyOf(entry.name)}) {
    const auto found = entries_.find(key);
    if (found == entries_.end() || !found->second.load) continue;
    Load& load = *found->second.load;
    load.order.is_pinned.reset();
    if (load.repeat) load.repeat->is_pinned.reset();
  }
  entry.is_pinned = is_pinned;
  SyncPin(entry.id);
  WriteDown(entry.name);
}

// Whether the pool has changed since.
bool Catalogue::FollowPool() {
  const auto now = pool_.resident();
  if (now == pool_list_) return false;
  pool_list_ = now;
  pool_ids_.clear();
  if (now != nullptr) pool_ids_.insert(now->begin(), now->end());
  return true;
}

AdapterTier Catalogue::TierOf(const AdapterId& id) {
  FollowPool();
  if (pool_ids_.contains(id)) return AdapterTier::kPool;
  const auto content = contents_.find(id);
  if (content != contents_.end() && !content->second.used.expired()) return AdapterTier::kHost;
  return cache_.Contains(id) ? AdapterTier::kDisk : AdapterTier::kNone;
}

// A walk over all names: not after each message, and not while nothing happens.
void Catalogue::ShowLoaded() {
  constexpr Micros kPeriodUs = 1'000'000;
  const Micros now_us = options_.clock->NowUs();
  if (now_us < show_loaded_us_) return;
  show_loaded_us_ = now_us + kPeriodUs;
  const bool pool_changed = FollowPool();
  if (!std::exchange(loaded_changed_, false) && !pool_changed) return;
  std::vector<LoadedName> loaded;
  for (const auto& [name, entry] : entries_) {
    if (!entry.is_registered || entry.id.IsBase()) continue;
    const bool is_in_pool = pool_ids_.contains(entry.id);
    const auto content = contents_.find(entry.id);
    const bool is_here = content != contents_.end();
    if (!is_in_pool && !(is_here && content->second.host != nullptr)) continue;
    loaded.push_back({.name = name,
                      .is_in_pool = is_in_pool,
                      .is_pinned = is_here && content->second.is_pinned,
                      .max_rank = entry.max_rank});
  }
  metrics_.SetLoaded(std::move(loaded));
}

}  // namespace lorry::adapters
