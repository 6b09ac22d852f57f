// WatchRounds: when which part of the watched directories is looked at. Where the system says that
// something has changed: at once, which is within a second. At everything, with all watches set
// anew: each minute, since nobody says what is written through a mapping; where the system does
// not say all, every 20 s; and within a second where it has lost something.
// Owns: the tree and its events. Thread: one; Wake from any. Never: reads a clock.
#pragma once

#include <string>
#include <vector>

#include "adapters/file_events.h"
#include "adapters/watched_tree.h"
#include "base/clock.h"

namespace lorry::adapters {

class WatchRounds {
 public:
  static constexpr Micros kPeriodUs = 60'000'000;  // of looking at everything
  static constexpr Micros kAlonePeriodUs = 20'000'000;
  static constexpr Micros kLostPeriodUs = 1'000'000;

  // `hooks` without follow and unfollow.
  WatchRounds(std::vector<std::string> dirs, WatchHooks hooks,
              size_t max_watches = FileEvents::kMaxWatches);

  WatchRounds(const WatchRounds&) = delete;  // its hooks lead here

  // What is there is known at once.
  void Begin(Micros now_us);
  // Of the next round, if nothing is said before.
  Micros NextUs(Micros now_us) const;
  // Waits for it. Whether the system has said something.
  bool Wait(std::chrono::milliseconds limit);
  void Round(Micros now_us);
  void Wake() { events_.Wake(); }

 private:
  WatchHooks WithEvents(WatchHooks hooks);
  Micros AllUs() const;
  void SayHowSoon();

  FileEvents events_;
  WatchHooks hooks_;
  WatchedTree tree_;
  std::vector<FileEvent> told_;  // by the last Wait
  Micros looked_us_ = 0;         // at everything
  bool is_lost_ = false;         // something, since then
  bool is_late_ = false;         // as it was said last
};

}  // namespace lorry::adapters
