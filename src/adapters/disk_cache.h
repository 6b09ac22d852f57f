// DiskCache: adapter images on disk by content, ready to copy. Survives restarts; bounded in bytes.
// Owns: DIR/<base>/*.image, but other processes may add and remove some at any time: they appear
// whole, and who has one open keeps it. Thread: the catalogue's; writing and opening the files is
// the loaders' (adapter_file.h). An image with a mark beside it (cache_layout.h) stays. Never:
// removes a file that a loader reads or writes.
#pragma once

#include <memory>
#include <string>
#include <unordered_map>

#include "adapters/adapter_file.h"
#include "adapters/eviction_policy.h"
#include "base/result.h"

namespace lorry::adapters {

struct DiskCacheStats {
  size_t num_files = 0;
  size_t num_bytes = 0;
  uint64_t num_evicted = 0;
};

class DiskCache {
 public:
  // Makes the directory, removes what interrupted writes left, and counts what is there, in the
  // order of its last use. max_bytes 0: keeps nothing and touches nothing.
  static Result<DiskCache> Open(const std::string& dir, uint64_t base, size_t max_bytes);

  bool Contains(const AdapterId& id) const;  // wholly written
  std::string PathOf(const AdapterId& id) const;
  void OnUse(const AdapterId& id) { policy_->OnUse(id); }

  // Makes room for a file that is about to be written, and holds it until Written or Abandoned.
  // False: it is there or being written already, can never fit, or all that is there is in use.
  bool Reserve(const AdapterId& id, size_t num_bytes, Micros bring_back_us);
  void Written(const AdapterId& id);
  void Abandoned(const AdapterId& id);

  // While a loader opens it.
  void Pin(const AdapterId& id);
  void Unpin(const AdapterId& id);
  // The file is broken or gone. It leaves when its last reader has.
  void Remove(const AdapterId& id);

  DiskCacheStats stats() const;

 private:
  enum class State { kWriting, kReady, kBroken };
  struct File {
    State state = State::kWriting;
    int num_readers = 0;
    bool is_kept = false;  // the policy has a pin for it
  };

  DiskCache(std::string dir, uint64_t base, size_t max_bytes);
  void Scan();
  bool FollowMark(const AdapterId& id);
  void FollowMarks();
  void Erase(const AdapterId& id);

  std::string dir_;
  uint64_t base_;
  size_t max_bytes_;
  std::unique_ptr<EvictionPolicy> policy_ = std::make_unique<EvictionPolicy>();
  std::unordered_map<AdapterId, File> files_;
  uint64_t num_evicted_ = 0;
};

}  // namespace lorry::adapters
