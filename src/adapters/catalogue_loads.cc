// The catalogue's loads: from a name's order to read its source to the weights on the host and in
// the disk cache.
#include <algorithm>
#include <utility>

#include "adapters/cache_layout.h"
#include "adapters/catalogue.h"
#include "adapters/fetch_progress.h"
#include "base/log.h"

namespace lorry::adapters {
namespace {

Micros NowUs() { return Clock::Steady().NowUs(); }

void LogProgress(const std::string& shown_name, const std::string& source, uint64_t done_bytes,
                 uint64_t total_bytes) {
  const std::string total = total_bytes == 0 ? "" : fmt::format(" of {}", total_bytes);
  log::Info("adapter {}: fetching {}: {}{} bytes", shown_name, source, done_bytes, total);
}

}  // namespace

void Catalogue::LoadOrder::Add(LoadOrder later) {
  asks_source |= later.asks_source;
  if (later.is_pinned) is_pinned = later.is_pinned;
  writes_down |= later.writes_down;
  std::ranges::move(later.done, std::back_inserter(done));
}

void Catalogue::StartLoad(Entry& entry, LoadOrder order) {
  if (entry.load) {
    LoadOrder& joined = order.asks_source ? entry.load->Repeat() : entry.load->order;
    joined.Add(std::move(order));
    *entry.load->cancelled = false;
    return;
  }
  const std::string digest = SourceDigest(entry.uri);
  entry.load = Load{.number = ++last_load_number_, .order = std::move(order)};
  const auto [busy, is_free] = busy_sources_.try_emplace(digest);
  if (is_free) return BeginLoad(entry);
  busy->second.push_back({entry.name, entry.load->number});
}

// Returns what it was for.
Catalogue::LoadOrder Catalogue::CancelLoad(Entry& entry) {
  if (!entry.load) return {};
  *entry.load->cancelled = true;
  LoadOrder order = std::move(entry.load->order);
  if (entry.load->repeat) order.Add(std::move(*entry.load->repeat));
  entry.load.reset();
  return order;
}

// It was for requests, and the last one has gone.
void Catalogue::CancelUnwantedLoad(Entry& entry) {
  if (!entry.load || entry.load->is_fetched || entry.is_pinned || !entry.waiters.empty()) return;
  if (!entry.load->order.done.empty()) return;
  if (entry.load->repeat && !entry.load->repeat->done.empty()) return;
  *entry.load->cancelled = true;
}

LoadRequest Catalogue::RequestOf(const Entry& entry) {
  const LoadOrder& order = entry.load->order;
  LoadRequest request = {.uri = entry.uri,
                         .token = entry.token,
                         .staging_dir = StagingDir(staging_root_, entry.uri),
                         .is_private = entry.is_requested && !entry.token.empty(),
                         .cancelled = entry.load->cancelled};
  // What others know of a source may have been read with a token that this request has not.
  const auto known =
      entry.is_requested ? known_sources_.end() : known_sources_.find(SourceKey(entry.uri));
  if (entry.is_requested || (!order.asks_source && cache_.Contains(entry.id))) {
    request.known_id = entry.id;
    request.known_revision = entry.revision;
  } else if (known != known_sources_.end()) {
    request.known_id = known->second.id;
    request.known_revision = known->second.revision;
  }
  request.known_image = HostImage(request.known_id);
  if (cache_.Contains(request.known_id)) request.cached_path = cache_.PathOf(request.known_id);
  return request;
}

void Catalogue::BeginLoad(Entry& entry) {
  LoadRequest request = RequestOf(entry);
  const bool has_cache = !request.cached_path.empty();
  if (has_cache) cache_.Pin(request.known_id);
  const auto end = [this, name = entry.name, number = entry.load->number](const LoadRequest& ended,
                                                                          Result<Loaded> result) {
    Post([this, name, number, ended, result = std::move(result)]() mutable {
      EndLoad(name, number, ended, std::move(result));
    });
  };
  if (has_cache && !entry.load->order.asks_source) {
    return AddJob(entry, loaders_,
                  [this, request, end] { end(request, LoadCached(request, options_.base)); });
  }
  entry.load->has_asked = true;
  // Shared since a lock goes with the files, and closures are copied.
  using Files = std::shared_ptr<Result<SourceFiles>>;
  const auto fetch = [this, request, name = entry.name, shown_name = ShownNameOf(entry),
                      number = entry.load->number] {
    LoadRequest timed = request;
    TellIfSlow(timed, name, shown_name, number);
    return std::make_shared<Result<SourceFiles>>(FetchAdapter(timed, options_.base));
  };
  const auto prepare = [this, request, end](const Files& files, Micros fetch_us) {
    auto result = LoadFetched(request, std::move(*files), options_.base);
    if (result) result->times.fetch_us = fetch_us;
    end(request, std::move(result));
  };
  if (request.uri.kind == SourceKind::kDirectory) {
    return AddJob(entry, loaders_, [fetch, prepare] {
      const Micros begin_us = NowUs();
      const Files files = fetch();
      prepare(files, NowUs() - begin_us);
    });
  }
  LoaderThreads::Job job = [this, fetch, prepare, name = entry.name, number = entry.load->number] {
    const Micros begin_us = NowUs();
    const Files files = fetch();
    Post([this, prepare, name, number, files, fetch_us = NowUs() - begin_us] {
      LoaderThreads::Job job = [prepare, files, fetch_us] { prepare(files, fetch_us); };
      Entry* entry = EntryLoading(name, number);
      if (entry != nullptr) entry->load->is_fetched = files->has_value();
      if (entry != nullptr) return AddJob(*entry, loaders_, std::move(job));
      loaders_.Add(std::move(job), false);  // it tidies up
    });
  };
  AddJob(entry, fetchers_, std::move(job), HostOf(request.uri));
}

void Catalogue::AddJob(Entry& entry, LoaderThreads& threads, LoaderThreads::Job job,
                       std::string group) {
  entry.load->threads = &threads;
  entry.load->job_number = threads.Add(std::move(job), !entry.waiters.empty(), std::move(group));
}

// A fetch that takes long holds nobody else's up, and says how far it is.
void Catalogue::TellIfSlow(LoadRequest& request, const std::string& name,
                           const std::string& shown_name, uint64_t load_number) {
  constexpr Micros kSlowUs = 2'000'000;
  request.progress = [this, name, shown_name, load_number, source = request.uri.text,
                      begin_us = NowUs(), due = FetchProgress(NowUs()),
                      is_told = false](uint64_t done_bytes, uint64_t total_bytes) mutable {
    const Micros now_us = NowUs();
    if (due.IsDue(now_us)) LogProgress(shown_name, source, done_bytes, total_bytes);
    if (is_told || now_us - begin_us < kSlowUs) return;
    is_told = true;
    Post([this, name, load_number] {
      Entry* entry = EntryLoading(name, load_number);
      if (entry == nullptr || entry->load->threads != &fetchers_) return;
      fetchers_.MarkSlow(entry->load->job_number);
    });
  };
}

// Null: the name is gone, or something else is read for it now.
Catalogue::Entry* Catalogue::EntryLoading(const std::string& name, uint64_t load_number) {
  const auto found = entries_.find(name);
  const bool is_loading =
      found != entries_.end() && found->second.load && found->second.load->number == load_number;
  return is_loading ? &found->second : nullptr;
}

void Catalogue::EndLoad(const std::string& name, uint64_t load_number, const LoadRequest& request,
                        Result<Loaded> result) {
  if (!request.cached_path.empty()) cache_.Unpin(request.known_id);
  if (result && result->cache_was_broken) {
    cache_.Remove(request.known_id);
    metrics_.SetDisk(cache_.stats());
    if (Entry* entry = EntryLoading(name, load_number)) return BeginLoad(*entry);
  } else if (result) {
    metrics_.OnLoaded(*result);
    if (EntryLoading(name, load_number)) OnLoaded(entries_.find(name), *result);
  } else {
    PruneLater();  // what a broken download left is there for the next attempt
    Entry* entry = EntryLoading(name, load_number);
    const bool is_cancelled = *request.cancelled || result.error().code == ErrorCode::kCancelled;
    if (!is_cancelled) metrics_.OnFailed(result.error());
    if (entry != nullptr && is_cancelled) OnLoadCancelled(*entry);
    if (entry != nullptr && !is_cancelled) {
      OnLoadFailed(entries_.find(name), std::move(result.error()));
    }
  }
  BeginNextOf(SourceDigest(request.uri));
}

void Catalogue::BeginNextOf(const std::string& source_digest) {
  const auto busy = busy_sources_.find(source_digest);
  while (!busy->second.empty()) {
    const auto [name, load_number] = std::move(busy->second.front());
    busy->second.pop_front();
    if (Entry* entry = EntryLoading(name, load_number)) return BeginLoad(*entry);
  }
  busy_sources_.erase(busy);
}

void Catalogue::OnLoaded(Entries::iterator found, const Loaded& loaded) {
  Entry& entry = found->second;
  Load load = std::move(*entry.load);
  entry.load.reset();
  const AdapterId before = std::exchange(entry.id, loaded.image->id);
  // Content that is here already under another name is used instead.
  auto image = HostImage(loaded.image->id);
  if (image == nullptr) image = loaded.image;
  KeepOnHost(image);
  entry.is_stale = load.repeat || (entry.is_stale && !load.has_asked);
  entry.revision = loaded.revision;
  entry.max_rank = image->max_rank;
  entry.num_modules = image->num_modules;
  entry.num_bytes = image->blob.size();
  if (!loaded.from_cache) entry.warnings = loaded.warnings;
  if (!loaded.from_cache || before != entry.id) entry.text_error = loaded.text_error;
  if (load.has_asked) OnRead(entry);
  if (!entry.candidacy) {
    entry.is_pinned = load.order.is_pinned.value_or(entry.is_pinned);
    if (load.order.writes_down) WriteDown(entry.name);
  }
  if (before != entry.id) DropContentIfUnnamed(before);
  if (before != entry.id || entry.is_pinned || load.order.is_pinned) SyncPin(entry.id);
  if (!loaded.from_cache) {
    for (const std::string& warning : loaded.warnings) {
      log::Warning("adapter {}: {}", ShownNameOf(entry), warning);
    }
    if (loaded.text_error) {
      log::Warning("adapter {}: {}", ShownNameOf(entry), loaded.text_error->message);
    }
    log::Info(
        "adapter {}: {}, rank {}, {} bytes, fetched in {:.3f} s, checked and packed in "
        "{:.3f} s",
        ShownNameOf(entry), loaded.summary, entry.max_rank, entry.num_bytes,
        static_cast<double>(loaded.times.fetch_us) * 1e-6,
        static_cast<double>(loaded.times.check_us + loaded.times.pack_us) * 1e-6);
  }
  if (entry.candidacy) {
    MoveToCandidate(found, std::move(load));
    return WriteToDisk(image, loaded.times);
  }
  if (!entry.is_requested && !entry.is_registered) {
    MakeKnown(entry);
    WriteDown(entry.name);
  }
  PublishIfChanged();  // whoever is told may ask for the name at once
  ServeWaiters(entry, image);
  for (StatusCallback& done : load.order.done) done(StatusOf(entry));
  WriteToDisk(image, loaded.times);
  if (load.repeat) StartLoad(entry, std::move(*load.repeat));
}

// From its source, that is.
void Catalogue::OnRead(Entry& entry) {
  entry.is_read = true;
  entry.error.reset();
  entry.num_failures = 0;
  entry.checked_us = options_.clock->NowUs();
  if (entry.is_requested) return;
  KnownSource source = {entry.revision, entry.id, entry.max_rank, entry.num_modules,
                        entry.num_bytes};
  const std::string key = SourceKey(entry.uri);
  KnownSource& known = known_sources_[key];
  if (known == source) return;  // most loads bring back what the file says already
  known = std::move(source);
  unsaved_sources_.insert(key);
  registry_changed_ = true;
}

void Catalogue::OnLoadFailed(Entries::iterator found, Error error) {
  Entry& entry = found->second;
  Load load = std::move(*entry.load);
  entry.load.reset();
  error.message = fmt::format("adapter `{}` from {}", ShownNameOf(entry),
                              AboutSource(entry.uri, error.message));
  // Whatever part of the way it was: it is the source's content that does not do.
  if (error.param.empty()) error.param = "source";
  if (error.code == ErrorCode::kInvalidArgument) error.code = ErrorCode::kUnfit;
  // Who starts a server with it is told, and says so.
  const bool is_static = entry.candidacy ? entry.candidacy->is_static : entry.is_static;
  if (!is_static || entry.is_read || load.order.done.empty()) log::Warning("{}", error.message);
  for (StatusCallback& done : load.order.done) done(tl::unexpected<Error>(error));
  if (load.repeat) return StartLoad(entry, std::move(*load.repeat));
  if (!entry.is_registered && !entry.is_requested) return EraseEntry(found, error);
  const int doublings = std::min(entry.num_failures++, 20);
  entry.failed_until_us = options_.clock->NowUs() +
                          std::min(options_.first_retry_us << doublings, options_.max_retry_us);
  entry.error = std::move(error);
  StandIn(entry);
}

// Nobody wanted it. Since then somebody may have come: the loader did not see that.
void Catalogue::OnLoadCancelled(Entry& entry) {
  LoadOrder order = CancelLoad(entry);
  if (!entry.waiters.empty() || !order.done.empty() || entry.is_pinned) {
    StartLoad(entry, std::move(order));
  }
}

void Catalogue::PruneLater() {
  if (std::exchange(is_pruning_, true)) return;
  writer_.Add(
      [this] {
        PruneStaging(staging_root_, options_.max_disk_bytes / kStagingShare);
        Post([this] { is_pruning_ = false; });
      },
      false);
}

// After the requests have been answered: they need not wait for it.
void Catalogue::WriteToDisk(const std::shared_ptr<const AdapterImage>& image,
                            const LoadTimes& times) {
  const Micros bring_back_us = times.fetch_us + times.check_us + times.pack_us;
  const size_t num_bytes = image->host_bytes();
  // A disk that does not keep up must not hold ever more images in memory.
  if (image->file || unwritten_bytes_ + num_bytes > options_.max_unwritten_bytes ||
      !cache_.Reserve(image->id, num_bytes, bring_back_us)) {
    return;
  }
  unwritten_bytes_ += num_bytes;
  metrics_.SetDisk(cache_.stats());
  writer_.Add(
      [this, image, num_bytes, path = cache_.PathOf(image->id)] {
        const Micros begin_us = NowUs();
        const Status status = WriteImageFile(*image, options_.base.ImageBase(), path);
        const Micros write_us = NowUs() - begin_us;
        if (!status) log::Warning("adapter cache: {}", status.error().message);
        Post([this, id = image->id, num_bytes, write_us, is_written = status.has_value()] {
          unwritten_bytes_ -= num_bytes;
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
