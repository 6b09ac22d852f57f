#include "adapters/catalogue.h"

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <utility>

#include "adapters/cache_layout.h"
#include "base/check.h"
#include "base/log.h"
#include "base/thread_name.h"

namespace lorry::adapters {
namespace {

int64_t UnixSeconds() {
  const auto now = std::chrono::system_clock::now().time_since_epoch();
  return std::chrono::duration_cast<std::chrono::seconds>(now).count();
}

Error NotFound(const std::string& name) {
  return {ErrorCode::kNotFound, fmt::format("The model `{}` does not exist.", name), "model"};
}

Error ShuttingDown() { return {ErrorCode::kUnavailable, "The server is shutting down.", ""}; }

}  // namespace

Result<std::unique_ptr<Catalogue>> Catalogue::Create(CatalogueOptions options, PoolHooks pool,
                                                     prometheus::Registry& registry) {
  const bool has_disk = !options.cache_dir.empty() && options.max_disk_bytes > 0;
  ASSIGN_OR_RETURN(DiskCache cache,
                   DiskCache::Open(ImagesDir(options.cache_dir), options.base.fingerprint,
                                   has_disk ? options.max_disk_bytes : 0));
  RegistryFile file(has_disk ? RegistryPath(options.cache_dir, options.base.fingerprint) : "");
  auto catalogue = std::unique_ptr<Catalogue>(new Catalogue(
      std::move(options), std::move(pool), std::move(cache), std::move(file), registry));
  catalogue->RestoreRegistered();
  catalogue->Publish();
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
      loaders_(options_.num_loaders, [this](int thread_idx) {
        Post([this, thread_idx] { loaders_.Dispatch(thread_idx); });
      }) {}

Catalogue::~Catalogue() { Stop(); }

void Catalogue::Stop() {
  if (stopping_.exchange(true)) return;
  Post([] {});
  thread_.join();
  loaders_.Stop();
  if (registry_changed_ || registry_saving_) {  // the loaders may have dropped the last save
    const Status status = registry_file_.Change(RegistryNow());
    if (!status) log::Warning("adapter registry: {}", status.error().message);
  }
  mailbox_.Close();
  std::vector<std::function<void()>> dropped;
  mailbox_.Drain(dropped);
  for (auto& [name, entry] : entries_) {
    for (Waiter& waiter : entry.waiters) waiter.done(tl::unexpected<Error>(ShuttingDown()));
    for (StatusCallback& done : entry.on_loaded) done(tl::unexpected<Error>(ShuttingDown()));
  }
}

void Catalogue::Post(std::function<void()> work) { mailbox_.SendAlways(std::move(work)); }

void Catalogue::Run() {
  NameThisThread("catalogue");
  std::vector<std::function<void()>> work;
  while (!stopping_) {
    const Micros left_us = NextDeadline() - options_.clock->NowUs();
    if (left_us > 0) mailbox_.WaitFor(std::chrono::microseconds(left_us));
    mailbox_.Drain(work);
    for (const auto& item : work) item();
    FailOverdue();
    PublishIfChanged();
    if (registry_changed_ && !registry_saving_) SaveRegistry();
  }
}

void Catalogue::PublishIfChanged() {
  if (std::exchange(names_changed_, false)) Publish();
}

void Catalogue::Publish() {
  std::vector<AdapterCard> cards;
  size_t num_waiting = 0;
  for (const auto& [name, entry] : entries_) {
    num_waiting += entry.waiters.size();
    if (entry.is_registered) cards.push_back({name, entry.uri.text, entry.created_s});
  }
  metrics_.SetNames(cards.size(), num_waiting);
  directory_.store(std::make_shared<const ModelDirectory>(options_.base_names, options_.base_root,
                                                          std::move(cards), options_.max_model_len,
                                                          created_s_));
}

Micros Catalogue::NextDeadline() const {
  Micros next_us = options_.clock->NowUs() + 3'600'000'000;
  for (const auto& [name, entry] : entries_) {
    if (!entry.waiters.empty()) next_us = std::min(next_us, entry.waiters.front().deadline_us);
  }
  return next_us;
}

void Catalogue::FailOverdue() {
  const Micros now_us = options_.clock->NowUs();
  for (auto& [name, entry] : entries_) {
    while (!entry.waiters.empty() && entry.waiters.front().deadline_us <= now_us) {
      entry.waiters.front().done(
          Fail(ErrorCode::kUnavailable,
               fmt::format("The adapter `{}` is still being loaded from {}. Try again later.", name,
                           entry.uri.text),
               "model"));
      entry.waiters.pop_front();
    }
  }
}

Catalogue::Entry& Catalogue::AddEntry(const std::string& name, const SourceUri& uri) {
  Entry& entry = entries_[name];
  entry.name = name;
  entry.uri = uri;
  entry.created_s = UnixSeconds();
  names_changed_ = true;
  return entry;
}

void Catalogue::EraseEntry(Entries::iterator entry, const Error& reason) {
  auto node = entries_.extract(entry);
  Entry& erased = node.mapped();
  for (Waiter& waiter : erased.waiters) waiter.done(tl::unexpected<Error>(reason));
  for (StatusCallback& done : erased.on_loaded) done(tl::unexpected<Error>(reason));
  if (!erased.id.IsBase()) DropContentIfUnnamed(erased.id);
  names_changed_ = true;
}

// ---- what outlives the process

void Catalogue::RestoreRegistered() {
  const Result<RegistryContent> content = registry_file_.Read();
  if (!content) {
    log::Warning("adapters registered earlier are forgotten: {}", content.error().message);
    return;
  }
  known_sources_ = content->sources;
  for (const RegisteredAdapter& adapter : content->adapters) {
    const auto uri = ParseSourceUri(adapter.source);
    if (!uri || !CheckAdapterName(adapter.name)) continue;
    Entry& entry = AddEntry(adapter.name, *uri);
    entry.is_registered = true;
    entry.is_pinned = adapter.is_pinned;
    entry.created_s = adapter.created_s;
    entry.is_stale = true;
    RecallSource(entry);
    if (entry.is_pinned) StartLoad(entry);
  }
}

// What its source held when it was last read, which may be in the disk cache.
void Catalogue::RecallSource(Entry& entry) {
  const auto known = known_sources_.find(entry.uri.text);
  if (known == known_sources_.end()) return;
  entry.id = known->second.id;
  entry.revision = known->second.revision;
  entry.max_rank = known->second.max_rank;
  entry.num_modules = known->second.num_modules;
  entry.num_bytes = known->second.num_bytes;
}

// What the file is to say; sources that other processes have read stay in it.
std::function<void(RegistryContent&)> Catalogue::RegistryNow() const {
  std::vector<RegisteredAdapter> adapters;
  for (const auto& [name, entry] : entries_) {
    if (entry.is_static || entry.is_watched || !entry.is_registered) continue;
    adapters.push_back({name, entry.uri.text, entry.is_pinned, entry.created_s});
  }
  return [adapters = std::move(adapters), sources = known_sources_](RegistryContent& content) {
    content.adapters = adapters;
    for (const auto& [text, source] : sources) content.sources[text] = source;
  };
}

void Catalogue::SaveRegistry() {
  registry_changed_ = false;
  registry_saving_ = true;
  loaders_.Add(
      [this, change = RegistryNow()](const std::atomic<bool>&) {
        const Status status = registry_file_.Change(change);
        if (!status) log::Warning("adapter registry: {}", status.error().message);
        Post([this] { registry_saving_ = false; });
      },
      true);
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
  content.host = image;
  content.used = image;
  host_policy_.OnInsert(image->id,
                        {.bytes = image->blob.size(),
                         .bring_back_us = static_cast<Micros>(image->blob.size() / 1000) + 1});
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

void Catalogue::DropContentIfUnnamed(const AdapterId& id) {
  const bool is_named = std::any_of(entries_.begin(), entries_.end(),
                                    [&](const auto& entry) { return entry.second.id == id; });
  if (is_named) return;
  const auto content = contents_.find(id);
  if (content != contents_.end()) {
    if (content->second.host != nullptr) host_policy_.OnRemove(id);
    contents_.erase(content);
  }
  pool_.drop(id);
}

AdapterTier Catalogue::TierOf(const AdapterId& id) const {
  if (id.IsBase()) return AdapterTier::kNone;
  if (const auto resident = pool_.resident()) {
    if (std::find(resident->begin(), resident->end(), id) != resident->end()) {
      return AdapterTier::kPool;
    }
  }
  const auto content = contents_.find(id);
  if (content != contents_.end() && !content->second.used.expired()) return AdapterTier::kHost;
  return cache_.Contains(id) ? AdapterTier::kDisk : AdapterTier::kNone;
}

// ---- requests

void Catalogue::Want(const std::string& name, HandleCallback done) {
  if (stopping_) return done(tl::unexpected<Error>(ShuttingDown()));
  Post([this, name, done = std::move(done)]() mutable { DoWant(name, std::move(done)); });
}

void Catalogue::DoWant(const std::string& name, HandleCallback done) {
  const auto found = entries_.find(name);
  if (found == entries_.end()) return done(tl::unexpected<Error>(NotFound(name)));
  Entry& entry = found->second;
  ++entry.num_requests;
  entry.last_used_s = UnixSeconds();
  if (!entry.id.IsBase()) {
    host_policy_.OnUse(entry.id);
    cache_.OnUse(entry.id);
    auto image = entry.is_stale ? nullptr : HostImage(entry.id);
    if (image != nullptr) {
      metrics_.OnHit(AdapterTier::kHost);
      KeepOnHost(image);
      return done(std::shared_ptr<const AdapterHandle>(std::move(image)));
    }
  }
  const Micros now_us = options_.clock->NowUs();
  if (entry.error && now_us < entry.failed_until_us) {
    return done(tl::unexpected<Error>(*entry.error));
  }
  if (static_cast<int>(entry.waiters.size()) >= options_.max_waiting) {
    return done(Fail(ErrorCode::kResourceExhausted,
                     fmt::format("{} requests wait for the adapter `{}` already. Try again later.",
                                 entry.waiters.size(), name),
                     "model"));
  }
  metrics_.OnHit(cache_.Contains(entry.id) ? AdapterTier::kDisk : AdapterTier::kNone);
  entry.waiters.push_back({std::move(done), now_us + options_.wait_timeout_us});
  if (!entry.is_loading) StartLoad(entry);
}

// ---- loading

std::string Catalogue::StagingRoot() const {
  if (!options_.cache_dir.empty()) return options_.cache_dir;
  return std::filesystem::temp_directory_path().string() + "/lorry";
}

void Catalogue::StartLoad(Entry& entry) {
  entry.is_loading = true;
  entry.load_number = ++last_load_number_;
  LoadRequest request = {.uri = entry.uri,
                         .token = entry.token,
                         .staging_dir = StagingDir(StagingRoot(), entry.uri),
                         .known_id = entry.id,
                         .known_revision = entry.revision,
                         .trust_cache = !entry.is_stale};
  if (cache_.Contains(entry.id)) {
    request.cached_path = cache_.PathOf(entry.id);
    cache_.Pin(entry.id);
  }
  const bool is_urgent = !entry.waiters.empty();
  loaders_.Add(
      [this, name = entry.name, number = entry.load_number,
       request = std::move(request)](const std::atomic<bool>& cancelled) mutable {
        request.cancelled = &cancelled;
        const bool had_cache = !request.cached_path.empty();
        auto result = LoadAdapter(request, options_.base);
        Post([this, name, number, had_cache, id = request.known_id,
              result = std::move(result)]() mutable {
          if (had_cache) cache_.Unpin(id);
          OnLoaded(name, number, std::move(result));
        });
      },
      is_urgent);
}

void Catalogue::OnLoaded(const std::string& name, uint64_t load_number, Result<Loaded> result) {
  const auto found = entries_.find(name);
  const bool is_current = found != entries_.end() && found->second.load_number == load_number;
  if (!result) {
    metrics_.OnFailed(result.error());
    if (is_current) OnLoadFailed(found, std::move(result.error()));
    return;
  }
  const Loaded& loaded = *result;
  metrics_.OnLoaded(loaded);
  if (loaded.cache_was_broken) cache_.Remove(loaded.image->id);
  if (!is_current) return;  // removed, or read again meanwhile

  Entry& entry = found->second;
  const AdapterId before = std::exchange(entry.id, loaded.image->id);
  // Content that is here already under another name is used instead.
  auto image = HostImage(loaded.image->id);
  if (image == nullptr) image = loaded.image;
  KeepOnHost(image);
  entry.is_loading = false;
  entry.is_stale = false;
  entry.error.reset();
  entry.num_failures = 0;
  entry.revision = loaded.revision;
  entry.max_rank = image->max_rank;
  entry.num_modules = image->num_modules;
  entry.num_bytes = image->blob.size();
  if (!std::exchange(entry.is_registered, true)) names_changed_ = true;
  registry_changed_ = true;
  known_sources_[entry.uri.text] = {entry.revision, entry.id, entry.max_rank, entry.num_modules,
                                    entry.num_bytes};
  if (before != entry.id) {
    if (entry.is_pinned) pool_.pin(image);
    if (!before.IsBase()) DropContentIfUnnamed(before);
  }
  if (!loaded.from_cache) {
    log::Info(
        "adapter {}: {}, rank {}, {} bytes, fetched in {:.3f} s, checked and packed in "
        "{:.3f} s",
        name, loaded.summary, entry.max_rank, entry.num_bytes,
        static_cast<double>(loaded.times.fetch_us) * 1e-6,
        static_cast<double>(loaded.times.check_us + loaded.times.pack_us) * 1e-6);
  }
  PublishIfChanged();  // whoever is told may ask for the name at once
  for (Waiter& waiter : std::exchange(entry.waiters, {})) waiter.done(image);
  for (StatusCallback& done : std::exchange(entry.on_loaded, {})) done(StatusOf(entry));
  WriteToDisk(image, loaded.times);
}

void Catalogue::OnLoadFailed(Entries::iterator found, Error error) {
  Entry& entry = found->second;
  entry.is_loading = false;
  error.message =
      fmt::format("adapter `{}` from {}: {}", entry.name, entry.uri.text, error.message);
  log::Warning("{}", error.message);
  if (!entry.is_registered) return EraseEntry(found, error);
  const int doublings = std::min(entry.num_failures++, 20);
  entry.failed_until_us = options_.clock->NowUs() +
                          std::min(options_.first_retry_us << doublings, options_.max_retry_us);
  entry.error = error;
  for (Waiter& waiter : std::exchange(entry.waiters, {})) {
    waiter.done(tl::unexpected<Error>(error));
  }
  for (StatusCallback& done : std::exchange(entry.on_loaded, {})) {
    done(tl::unexpected<Error>(error));
  }
}

// After the requests have been answered: they need not wait for it.
void Catalogue::WriteToDisk(const std::shared_ptr<const AdapterImage>& image,
                            const LoadTimes& times) {
  const Micros bring_back_us = times.fetch_us + times.check_us + times.pack_us;
  if (image->file || !cache_.Reserve(image->id, image->blob.size(), bring_back_us)) return;
  metrics_.SetDisk(cache_.stats());
  loaders_.Add(
      [this, image, path = cache_.PathOf(image->id)](const std::atomic<bool>&) {
        const Micros begin_us = Clock::Steady().NowUs();
        const Status status = WriteImageFile(*image, options_.base.fingerprint, path);
        const Micros write_us = Clock::Steady().NowUs() - begin_us;
        if (!status) log::Warning("adapter cache: {}", status.error().message);
        Post([this, id = image->id, num_bytes = image->blob.size(), write_us,
              is_written = status.has_value()] {
          if (is_written) {
            cache_.Written(id);
            metrics_.OnWritten(num_bytes, write_us);
          } else {
            cache_.Abandoned(id);
          }
          metrics_.SetDisk(cache_.stats());
        });
      },
      false);
}

}  // namespace lorry::adapters
