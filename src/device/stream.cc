#include "device/stream.h"

#include <fmt/core.h>
#include <sched.h>

#include <atomic>
#include <chrono>
#include <cstdint>
#include <thread>
#include <vector>

#include "base/check.h"
#include "base/thread_name.h"

namespace lorry {
namespace {

inline void Pause() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#endif
}

// Busy waiting, in two stages: pauses while the wait is likely to be shorter than a trip through
// the kernel, then sched_yield, so that on a machine with more threads than cores whoever is waited
// for gets to run.
class Spinner {
 public:
  // One turn. Says how long the wait has lasted so far, as of a few turns ago.
  std::chrono::nanoseconds Turn() {
    constexpr int kTurnsPerLook = 32;
    constexpr auto kYieldAfter = std::chrono::microseconds(20);
    Pause();
    if (++turns_ % kTurnsPerLook == 0) waited_ = std::chrono::steady_clock::now() - start_;
    if (waited_ > kYieldAfter) sched_yield();
    return waited_;
  }

 private:
  std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
  std::chrono::nanoseconds waited_{0};
  int turns_ = 0;
};

// The gaps between the regions of one step are far shorter than this; the gap to the next request
// is far longer.
constexpr auto kSleepAfter = std::chrono::microseconds(100);

// The state word of a pool: | region number: 20 bits | open: 1 bit | workers inside: 11 bits |
constexpr uint32_t kOpen = 1u << 11;
constexpr uint32_t kInsideMask = kOpen - 1;
constexpr uint32_t kRegionUnit = kOpen << 1;
constexpr uint32_t Region(uint32_t state) { return state / kRegionUnit; }

// The items of one thread's share that nobody has claimed yet.
//
// A claim waits until what the thread stored has reached the cache, which with items of a
// microsecond costs as much as the work. So the owner claims three quarters of what is left at a
// time, from the front; the others take single items from the back.
class alignas(64) Share {
 public:
  struct Claimed {
    uint32_t begin, end;
  };

  void Reset(uint32_t begin, uint32_t end) {
    items_.store(Pack(begin, end), std::memory_order_relaxed);
  }

  // Nothing: no item is left.
  Claimed Claim(bool owner) {
    uint64_t seen = items_.load(std::memory_order_relaxed);
    for (;;) {
      const auto begin = static_cast<uint32_t>(seen >> 32), end = static_cast<uint32_t>(seen);
      if (begin >= end) return {};
      const uint32_t count = owner ? (3 * (end - begin) + 3) / 4 : 1;
      const uint64_t left = owner ? Pack(begin + count, end) : Pack(begin, end - count);
      if (items_.compare_exchange_weak(seen, left, std::memory_order_relaxed)) {
        return owner ? Claimed{begin, begin + count} : Claimed{end - count, end};
      }
    }
  }

 private:
  static constexpr uint64_t Pack(uint32_t begin, uint32_t end) {
    return uint64_t{begin} << 32 | end;
  }

  std::atomic<uint64_t> items_{0};  // | begin: 32 bits | end: 32 bits |
};

}  // namespace

// A worker may enter a region only while it is open and counts itself inside by the same atomic
// operation; the caller closes the region once all items are claimed and leaves when nobody is
// inside. So a worker that sleeps through a region is not waited for, and the fields below change
// only while nobody can look at them.
struct Stream::Pool {
  alignas(64) std::atomic<uint32_t> state{0};
  std::vector<Share> shares;
  Function function = nullptr;
  const void* body = nullptr;
  std::atomic<bool> stopping{false};
  std::vector<std::thread> workers;

  explicit Pool(int num_threads) : shares(num_threads) {}

  void DoItems(int thread_idx) {
    DoShare(shares[thread_idx], true, thread_idx);
    const int num_threads = static_cast<int>(shares.size());
    for (int i = 1; i < num_threads; ++i) {
      DoShare(shares[(thread_idx + i) % num_threads], false, thread_idx);
    }
  }

  void DoShare(Share& share, bool owner, int thread_idx) {
    for (;;) {
      const auto [begin, end] = share.Claim(owner);
      if (begin == end) return;
      for (uint32_t i = begin; i < end; ++i) function(body, static_cast<int>(i), thread_idx);
    }
  }

  // Waits until the state differs from `seen`'s region; sleeps after a while.
  void AwaitRegionAfter(uint32_t region) {
    Spinner spinner;
    for (;;) {
      const uint32_t now = state.load(std::memory_order_acquire);
      if (Region(now) != region) return;
      if (spinner.Turn() > kSleepAfter) state.wait(now, std::memory_order_acquire);
    }
  }

  void WorkerLoop(int thread_idx) {
    NameThisThread(fmt::format("compute-{}", thread_idx).c_str());
    uint32_t region = 0;
    for (;;) {
      AwaitRegionAfter(region);
      // In this order: who sees the last state sees the end that was written before it.
      uint32_t now = state.load(std::memory_order_acquire);
      if (stopping.load(std::memory_order_acquire)) return;
      region = Region(now);
      if (!(now & kOpen)) continue;
      if (!state.compare_exchange_strong(now, now + 1, std::memory_order_acq_rel)) {
        region = Region(now) - 1;  // somebody else moved the state: look again
        continue;
      }
      DoItems(thread_idx);
      state.fetch_sub(1, std::memory_order_release);
    }
  }

  // Opens the next region. The seq_cst exchange orders the new state before notify_all's look at
  // who sleeps.
  void Open(uint32_t open) {
    const uint32_t old = state.load(std::memory_order_relaxed);
    state.exchange((Region(old) + 1) * kRegionUnit | open, std::memory_order_seq_cst);
    state.notify_all();
  }
};

Stream::Stream(int num_threads) {
  CHECK_GE(num_threads, 1);
  CHECK_LE(num_threads, static_cast<int>(kInsideMask));
  pool_ = std::make_unique<Pool>(num_threads);
  for (int thread_idx = 1; thread_idx < num_threads; ++thread_idx) {
    pool_->workers.emplace_back([pool = pool_.get(), thread_idx] { pool->WorkerLoop(thread_idx); });
  }
}

Stream::~Stream() {
  pool_->stopping.store(true, std::memory_order_release);
  pool_->Open(0);
  for (std::thread& worker : pool_->workers) worker.join();
}

int Stream::num_threads() const { return static_cast<int>(pool_->workers.size()) + 1; }

void Stream::Run(int num_items, Function function, const void* body) const {
  if (num_items == 1 || pool_->workers.empty()) {
    for (int item_idx = 0; item_idx < num_items; ++item_idx) function(body, item_idx, 0);
    return;
  }
  Pool& pool = *pool_;
  pool.function = function;
  pool.body = body;
  const auto num_threads = static_cast<int64_t>(pool.shares.size());
  for (int64_t thread = 0; thread < num_threads; ++thread) {
    pool.shares[thread].Reset(static_cast<uint32_t>(num_items * thread / num_threads),
                              static_cast<uint32_t>(num_items * (thread + 1) / num_threads));
  }
  pool.Open(kOpen);
  pool.DoItems(0);
  pool.state.fetch_and(~kOpen, std::memory_order_acq_rel);
  Spinner spinner;
  while (pool.state.load(std::memory_order_acquire) & kInsideMask) spinner.Turn();
}

}  // namespace lorry
