// Residency: which adapters lie in the page pool, which are on their way there, and who has to
// leave. Adapters take pages from the pool that the KV cache draws on too. One that a running
// sequence uses, or that is pinned, stays; the others leave when somebody needs their pages, the
// least valuable first (adapters/eviction_policy.h). Owns: the adapters' pages and memory. Thread:
// the engine's. Never: leaves less than kv_floor_pages to the KV cache, so that the oldest sequence
// can always go on.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "adapters/adapter_image.h"
#include "adapters/eviction_policy.h"
#include "base/clock.h"
#include "base/ids.h"
#include "base/result.h"
#include "engine/adapter_copier.h"
#include "pages/page_pool.h"

namespace lorry::engine {

struct ResidencyOptions {
  int kv_floor_pages = 0;       // that adapters never take
  int adapter_floor_pages = 0;  // that the KV cache does not take from idle adapters
  int max_loading = 4;          // copies that may be under way
};

struct ResidencyStats {
  int num_resident = 0;
  int num_pages = 0;       // lent to adapters, resident or loading
  size_t num_bytes = 0;    // of resident adapters, as they are
  uint64_t num_hits = 0;   // requests that found their adapter resident
  uint64_t num_loads = 0;  // copies begun
  uint64_t loaded_bytes = 0;
  uint64_t num_evicted_for_kv = 0;
  uint64_t num_evicted_for_adapters = 0;
  uint64_t num_dropped = 0;  // removed by the operator
};

class Residency {
 public:
  using Image = std::shared_ptr<const adapters::AdapterImage>;
  // Starts a copy, whose end is told by OnCopied. True: nothing had to be done, it is there.
  using StartCopy = std::function<bool(Image, std::vector<std::span<std::byte>> touched)>;
  using Free = std::function<void(AdapterCopy)>;

  Residency(PagePool* pool, ResidencyOptions options, StartCopy start_copy, Free free);
  ~Residency();

  // A request asks for the adapter.
  void OnRequest(AdapterId id);

  // Between BeginWants and EndWants the waiting sequences say which adapters they want; those stay
  // until a later round in which nobody wants them.
  enum class Answer { kResident, kLoading, kNoRoom, kTooLarge };
  void BeginWants();
  // Starts to load the adapter if it is not there. kNoRoom: all that may leave has left.
  Answer Want(const Image& image);
  // True: an adapter may leave now that had to stay while the round went on.
  bool EndWants();

  // The adapter of a sequence that starts to run; it is resident. Ends with Leave.
  const model::AdapterWeights* Enter(AdapterId id);
  void Leave(AdapterId id);

  // The error is the copy's: who waits for this adapter fails with it.
  std::optional<Error> OnCopied(AdapterCopied copied);

  // A pinned adapter never leaves; one that is not here is loaded as soon as there is room.
  void Pin(const Image& image);
  void Unpin(AdapterId id);
  // Brings an adapter here while there is room; it may leave again like others.
  void Warm(const Image& image);
  bool has_more_to_load() const { return num_loading_ == 0 && !to_load_.empty(); }
  // An idle adapter leaves at once, one in use when its last sequence does.
  void Drop(AdapterId id);

  // KV needs pages: an idle adapter leaves. False: none may.
  bool EvictForKv();
  int num_evictable_pages() const;  // what EvictForKv can free in all
  int num_held_pages() const;       // of adapters that must stay, or the floor if that is more
  int PagesFor(size_t num_bytes) const;
  int max_pages() const { return pool_->num_pages() - options_.kv_floor_pages; }

  bool IsResident(AdapterId id) const;
  std::vector<AdapterId> ResidentIds() const;
  const ResidencyStats& stats() const { return stats_; }
  void CheckInvariants() const;  // pages and bytes add up; for tests

 private:
  struct Entry {
    bool is_loading = true;
    bool is_pinned = false;
    bool is_wanted = false;   // by a waiting sequence, in the last round
    bool is_dropped = false;  // leaves when idle
    int num_running = 0;      // sequences
    uint64_t wanted_round = 0;
    std::vector<PageId> pages;
    AdapterCopy copy;
  };
  using Entries = std::unordered_map<AdapterId, Entry>;

  Entry& Find(AdapterId id);
  void SetWanted(AdapterId id, Entry& entry);
  void DropIfIdle(AdapterId id);
  void Release(AdapterId id);
  bool MakeRoom(int num_pages);

  PagePool* const pool_;
  const ResidencyOptions options_;
  const StartCopy start_copy_;
  const Free free_;
  adapters::EvictionPolicy
      policy_;  // a pin for each running sequence, one for loading, wanted and pinned each
  Entries entries_;
  std::vector<AdapterId> wanted_;         // entries with is_wanted
  std::unordered_set<AdapterId> pinned_;  // also those that are not here yet
  std::vector<Image> to_load_;            // without being asked for
  uint64_t round_ = 0;
  int num_loading_ = 0;
  ResidencyStats stats_;
};

}  // namespace lorry::engine
