// When a fetch that takes long says in the log how far it is.
// Owns: the times. Thread: one. Pure.
#pragma once

#include <algorithm>
#include <cstdint>

#include "base/clock.h"

namespace lorry::adapters {

// After 5 s, then after twice as long each time, a minute at most.
class FetchProgress {
 public:
  explicit FetchProgress(Micros begin_us) : due_us_(begin_us + kFirstUs) {}

  bool IsDue(Micros now_us) {
    if (now_us < due_us_) return false;
    pause_us_ = std::min(2 * pause_us_, kMaxPauseUs);
    due_us_ = now_us + pause_us_;
    return true;
  }

 private:
  static constexpr Micros kFirstUs = 5'000'000;
  static constexpr Micros kMaxPauseUs = 60'000'000;

  Micros pause_us_ = kFirstUs / 2;
  Micros due_us_;
};

}  // namespace lorry::adapters
