// Catalogue: every adapter that has a name, where its weights come from, and how far up they are.
//
//     source ──loader──▶ disk cache ──loader──▶ host ──engine──▶ page pool
//
// A name points to a source, and once that has been read, to content (an AdapterId). Content is
// kept once however many names it has. A request takes the content that its name stands for at that
// moment and keeps it to its end (request/adapter_handle.h); a reload moves the name afterwards.
//
// Four kinds of threads work for it, so that none waits for another: fetchers for sources that are
// elsewhere, loaders for what takes the processor, a writer for the disk cache, a registrar for the
// registry. Who changes a name is answered when the registry file says so: one write at a time, and
// each for all who wait by then.
//
// Owns: names, requests that wait for weights, the host tier, the disk cache's books, these
// threads. Thread: one of its own; the others send it closures. Never: blocks on a disk or a
// socket, or lets one adapter's failure touch another's requests.
#pragma once

#include <atomic>
#include <deque>
#include <functional>
#include <list>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <stop_token>
#include <string>
#include <thread>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "adapters/disk_cache.h"
#include "adapters/load_adapter.h"
#include "adapters/loader_threads.h"
#include "adapters/registry_file.h"
#include "adapters/source_allow_list.h"
#include "adapters/tier_metrics.h"
#include "base/mailbox.h"
#include "base/shared_value.h"
#include "request/adapter_service.h"

namespace prometheus {
class Registry;
}

namespace lorry::adapters {

struct CatalogueOptions {
  std::vector<std::string> base_names;
  std::string base_root;
  int max_model_len = 0;
  LoadBase base;
  SourceAllowList requestable;      // sources that requests may name
  size_t max_requested = 1024;      // of them known at once
  Micros recheck_us = 600'000'000;  // after which such a source is asked again
  std::string cache_dir;            // empty: nothing is kept on disk
  size_t max_disk_bytes = size_t{20} << 30;
  size_t max_host_bytes = size_t{2} << 30;  // of images that are kept for requests to come
  // Of images that requests hold which do not run yet, wherever else they are; a larger one passes
  // when it is alone.
  size_t max_waiting_bytes = size_t{256} << 20;
  int num_fetchers = 16;   // sources elsewhere that are waited for at once
  size_t ready_bytes = 0;  // memory that is touched at start, for adapters to come
  int num_loaders = 2;     // adapters that are checked and packed at once
  size_t max_unwritten_bytes = size_t{256} << 20;  // of images that wait for their cache file
  int max_waiting = 256;                 // requests that wait for one adapter; beyond: refused
  Micros wait_timeout_us = 120'000'000;  // of such a request
  Micros first_retry_us = 2'000'000;     // after a failure; doubles
  Micros max_retry_us = 60'000'000;
  const Clock* clock = &Clock::Steady();
};

// What the engine and its page pool are told, and asked. Any thread.
struct PoolHooks {
  std::function<void(std::shared_ptr<const AdapterHandle>)> pin;
  std::function<void(AdapterId)> unpin, drop;
  std::function<std::shared_ptr<const std::vector<AdapterId>>()> resident;
  std::function<void(std::vector<NameChange>)> show_names;
  std::function<void(WaitingRequests)> show_waiting;  // those that have not reached the engine
};

class Catalogue final : public AdapterService {
 public:
  static Result<std::unique_ptr<Catalogue>> Create(CatalogueOptions options, PoolHooks pool,
                                                   prometheus::Registry& registry);
  ~Catalogue() override;  // as Stop

  // A static adapter of the command line; `ready` when its weights are on the host.
  void AddStatic(const std::string& name, const SourceUri& uri, bool pin, StatusCallback ready);
  // Adapters of a watched directory (directory_watch.h): as registered, but not written down.
  void SyncWatched(const std::string& name, const std::string& dir);
  void RemoveWatched(const std::string& name);
  // Its files are those of no adapter now; it stays what it was, and its status says why.
  void MarkWatched(const std::string& name, const std::string& why);

  std::shared_ptr<const ModelDirectory> directory() const override { return directory_.Get(); }
  void Want(const std::string& name, std::shared_ptr<WaitingRequest> request,
            HandleCallback done) override;
  Result<std::string> CheckSource(const std::string& uri) const override;
  void WantSource(const AdapterSource& source, std::shared_ptr<WaitingRequest> request,
                  HandleCallback done) override;
  void Register(AdapterRegistration registration, StatusCallback done) override;
  void Remove(const std::string& name, DoneCallback done) override;
  void Update(const std::string& name, AdapterUpdate update, StatusCallback done) override;
  void List(std::function<void(std::vector<AdapterStatus>)> done) override;

  // Ends the loaders and fails what waits.
  void Stop();

 private:
  // What a request wants of one adapter.
  struct Wanting {
    std::shared_ptr<WaitingRequest> request;  // null: nobody can give it up
    HandleCallback done;
  };
  using Turn = std::pair<uint64_t, uint64_t>;  // a request's, then its waiters' by number
  struct Waiter {
    Wanting wanting;
    Turn turn;
    Micros deadline_us = 0;
    std::optional<std::stop_callback<std::function<void()>>> on_gone;
  };
  using Waiters = std::map<uint64_t, Waiter>;  // by number: in the order of arrival and deadlines
  // How an entry's source is to be read, and what becomes of its name if that goes well.
  struct LoadOrder {
    bool asks_source = false;       // however good the image in the cache is
    std::optional<bool> is_pinned;  // nullopt: as it was
    bool writes_down = false;       // the name, as it is then
    std::vector<StatusCallback> done;

    void Add(LoadOrder later);
  };
  // The same under way.
  struct Load {
    uint64_t number = 0;
    bool has_asked = false;   // else it takes the image in the disk cache for what it is
    bool is_fetched = false;  // what is left takes this machine only, and not for long
    LoadOrder order;
    // Asked for again meanwhile: what has been read may be old.
    std::optional<LoadOrder> repeat;
    // While nobody wants it. Who comes before the loader has seen it takes it back.
    std::shared_ptr<std::atomic<bool>> cancelled = std::make_shared<std::atomic<bool>>(false);
    LoaderThreads* threads = nullptr;  // where it stands in line, as
    uint64_t job_number = 0;

    LoadOrder& Repeat() {
      return repeat ? *repeat : repeat.emplace(LoadOrder{.asks_source = true});
    }
  };
  // Of what a name is to stand for: the name moves there once it has been read, and becomes this.
  struct Candidacy {
    std::string name;
    bool is_static = false;
  };
  // A name, or a candidate for one, or a source that a request has named with the token that came
  // along.
  struct Entry {
    std::string name;  // in entries_; of the other two a key that is never shown
    std::optional<Candidacy> candidacy;
    SourceUri uri;
    std::string token;
    std::string revision;
    AdapterId id;  // all zero: not read yet
    bool is_static = false, is_watched = false, is_pinned = false;
    bool is_registered = false;  // false: it becomes known to clients only once it has been read
    bool is_requested = false;   // by its source: on no list, and not written down
    bool is_stale = false;       // its source is asked before the next use
    // The name has answered with `id`: in this process, or maybe before it.
    bool is_read = false, is_remembered = false;
    int max_rank = 0, num_modules = 0;
    size_t num_bytes = 0;
    std::vector<std::string> warnings;
    std::optional<Error> text_error;  // of what was read: its requests fail so
    uint64_t num_requests = 0;
    int64_t created_s = 0, last_used_s = 0;
    Waiters waiters;
    std::optional<Load> load;
    std::optional<Error> error;
    int num_failures = 0;
    Micros failed_until_us = 0;
    Micros checked_us = 0;                          // of a requested source: when it was read last
    std::list<std::string>::iterator requested_at;  // in requested_
  };
  using Entries = std::map<std::string, Entry, std::less<>>;
  using Image = std::shared_ptr<const AdapterImage>;
  // By requests that do not run yet.
  struct Held {
    int num_places = 0;
    size_t num_bytes = 0;
  };
  // What one or more names stand for.
  struct Content {
    std::shared_ptr<const AdapterImage> host;  // null: not in the host tier
    std::weak_ptr<const AdapterImage> used;    // still there while a request holds it
    bool is_pinned = false;                    // in the page pool, since one of its names is
  };

  // What a candidate is to be read from.
  struct Target {
    SourceUri uri;
    std::string token;
    AdapterId id;  // what that held when it was last read, at `revision`
    std::string revision;
  };

  // Of the disk cache's bytes, again, for downloads that broke off.
  static constexpr size_t kStagingShare = 4;

  Catalogue(CatalogueOptions options, PoolHooks pool, DiskCache cache, RegistryFile registry_file,
            prometheus::Registry& registry);

  void Run();
  void Post(std::function<void()> work);
  void PublishIfChanged();
  void Publish();

  Entry& AddEntry(const std::string& name, const SourceUri& uri);
  void MakeKnown(Entry& entry);
  void EraseEntry(Entries::iterator entry, const Error& reason);
  Status ChooseStaging();
  void RestoreRegistered();
  void RecallSource(Entry& entry);
  Status CheckName(const std::string& name) const;
  Entries::iterator FindName(const std::string& name);
  std::optional<RegisteredAdapter> RegisteredNow(const std::string& name) const;
  void WriteDown(const std::string& name);
  RegistryChange TakeUnsaved();
  void GiveBackUnsaved(const RegistryChange& change);
  // `pruned_but`: sources that nobody uses leave the file, but for these; nullopt: none leaves.
  Result<bool> Save(const RegistryChange& change,
                    const std::optional<std::set<std::string>>& pruned_but) const;
  void SaveRegistry();
  void OnSaved(const Result<bool>& was_there);
  void SaveAtTheEnd();
  template <typename T>
  std::function<void(T)> OnceSaved(std::function<void(T)> done);

  std::shared_ptr<const AdapterImage> HostImage(const AdapterId& id);
  void KeepOnHost(const std::shared_ptr<const AdapterImage>& image);
  void TrimHost();
  bool IsNamed(const AdapterId& id, bool by_pinned) const;
  void DropContentIfUnnamed(const AdapterId& id);
  void SyncPin(const AdapterId& id);
  void SetPin(Entry& entry, bool is_pinned);
  static std::string CandidateKeyOf(const std::string& name);
  void DropCandidate(const std::string& name);
  void MoveOnceRead(const Target& target, Candidacy candidacy, LoadOrder order);
  void MoveTo(Entry& entry, const Entry& target);
  void MoveToCandidate(Entries::iterator candidate, Load load);
  bool MayStandIn(const Entry& entry) const;
  bool MustAskSource(const Entry& entry) const;
  void DoRegister(AdapterRegistration registration, const SourceUri& uri, StatusCallback done);
  void DoUpdate(const std::string& name, const AdapterUpdate& update, StatusCallback done);

  void DoWant(const std::string& name, Wanting wanting);
  void DoWantSource(const SourceUri& uri, const std::string& token, Wanting wanting);
  bool MakeRoomForRequested();
  void Use(Entry& entry, Wanting wanting);
  static std::string ShownNameOf(const Entry& entry);
  Turn AddWaiter(Entry& entry, Wanting wanting);
  Waiters TakeWaiters(Entry& entry);
  Wanting TakeWaiter(Entry& entry, Waiters::iterator waiter);
  void GiveUp(const std::string& name, uint64_t waiter_number);
  void FailOverdue();
  void ShowWaiting();
  static bool IsUngated(const Wanting& wanting);
  bool HasRoomFor(const AdapterId& id, size_t num_bytes) const;
  void Give(Wanting wanting, const Image& image);
  void FreePlace(const AdapterId& id);
  void ServeWaiters(Entry& entry, const Image& image);
  void FailWaiters(Entry& entry, const Error& error);
  void ServeGated();

  void StartLoad(Entry& entry, LoadOrder order);
  static LoadOrder CancelLoad(Entry& entry);
  void CancelUnwantedLoad(Entry& entry);
  void BeginLoad(Entry& entry);
  void BeginNextOf(const std::string& source_digest);
  LoadRequest RequestOf(const Entry& entry);
  void AddJob(Entry& entry, LoaderThreads& threads, LoaderThreads::Job job, std::string group = {});
  void TellIfSlow(LoadRequest& request, const std::string& name, const std::string& shown_name,
                  uint64_t load_number);
  void EndLoad(const std::string& name, uint64_t load_number, const LoadRequest& request,
               Result<Loaded> result);
  Entry* EntryLoading(const std::string& name, uint64_t load_number);
  void OnLoaded(Entries::iterator entry, const Loaded& loaded);
  void OnRead(Entry& entry);
  void OnLoadFailed(Entries::iterator entry, Error error);
  void OnLoadCancelled(Entry& entry);
  void StandIn(Entry& entry);
  void PruneLater();
  void WriteToDisk(const std::shared_ptr<const AdapterImage>& image, const LoadTimes& times);
  AdapterStatus StatusOf(const Entry& entry);
  AdapterTier TierOf(const AdapterId& id);
  bool FollowPool();
  void ShowLoaded();

  const CatalogueOptions options_;
  const PoolHooks pool_;
  DiskCache cache_;
  RegistryFile registry_file_;
  TierMetrics metrics_;
  Entries entries_;
  std::list<std::string> requested_;  // of the entries that are: least lately used first
  std::unordered_map<AdapterId, Content> contents_;
  std::map<std::string, KnownSource> known_sources_;
  EvictionPolicy host_policy_;
  uint64_t num_host_evicted_ = 0;
  std::shared_ptr<const std::vector<AdapterId>> pool_list_;  // as the pool last told
  std::unordered_set<AdapterId> pool_ids_;                   // the same
  // Of the entries with waiters, by the first one's.
  std::set<std::pair<Micros, std::string>> deadlines_;
  size_t num_waiting_ = 0;
  uint64_t last_waiter_number_ = 0;
  std::map<Turn, std::string> gated_;  // of these whose weights have come, but not their turn
  std::unordered_map<AdapterId, Held> held_;
  size_t held_bytes_ = 0;
  bool waiting_changed_ = false;  // since ShowWaiting
  Micros show_waiting_us_ = 0;    // the earliest time of the next
  // Sources that are read at the moment, by their digest, and the loads (name, number) that wait
  // for that: a source has one staging directory, and what one load finds the next need not fetch.
  std::map<std::string, std::deque<std::pair<std::string, uint64_t>>> busy_sources_;
  bool loaded_changed_ = true;  // names or the host tier may have, since ShowLoaded
  Micros show_loaded_us_ = 0;   // the earliest time of the next
  size_t unwritten_bytes_ = 0;
  bool names_changed_ = true;
  std::vector<NameChange> name_changes_;  // since the pool was told
  bool registry_changed_ = false;
  // What the registry file has not been told; and what it is being told.
  std::set<std::string> unsaved_names_, unsaved_sources_;
  std::shared_ptr<const RegistryChange> saving_;
  uint64_t num_saves_ = 0;
  // What waits for the save under way, and for the one after it.
  std::vector<DoneCallback> saving_answers_, unsaved_answers_;
  bool is_pruning_ = false;
  uint64_t last_load_number_ = 0;
  const int64_t created_s_;
  std::string staging_root_;
  std::string temporary_dir_;  // staging without a cache; gone with this
  SharedValue<ModelDirectory> directory_;
  // Shared: requests give back what they hold whenever they end.
  const std::shared_ptr<Mailbox<std::function<void()>>> mailbox_ =
      std::make_shared<Mailbox<std::function<void()>>>(SIZE_MAX);
  std::atomic<bool> stopping_ = false;
  LoaderThreads fetchers_;
  LoaderThreads loaders_;
  LoaderThreads writer_;
  LoaderThreads registrar_;
  std::thread thread_;
};

}  // namespace lorry::adapters
