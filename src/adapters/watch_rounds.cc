#include "adapters/watch_rounds.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

namespace lorry::adapters {

WatchRounds::WatchRounds(std::vector<std::string> dirs, WatchHooks hooks, size_t max_watches)
    : events_(max_watches), hooks_(WithEvents(std::move(hooks))), tree_(std::move(dirs), hooks_) {}

WatchHooks WatchRounds::WithEvents(WatchHooks hooks) {
  hooks.follow = [this](const std::string& path) { return events_.Add(path); };
  hooks.unfollow = [this](int watch) { events_.Remove(watch); };
  return hooks;
}

void WatchRounds::Begin(Micros now_us) {
  looked_us_ = now_us;
  tree_.Begin(now_us);
  SayHowSoon();
}

Micros WatchRounds::AllUs() const {
  if (is_lost_) return looked_us_ + kLostPeriodUs;
  return looked_us_ + (events_.says_all() ? kPeriodUs : kAlonePeriodUs);
}

Micros WatchRounds::NextUs(Micros now_us) const {
  constexpr Micros kRootsPeriodUs = 500'000;
  return std::min({tree_.next_us(), AllUs(), now_us + kRootsPeriodUs});
}

bool WatchRounds::Wait(std::chrono::milliseconds limit) {
  told_ = events_.Wait(limit);
  return !told_.empty();
}

void WatchRounds::Round(Micros now_us) {
  for (const FileEvent& event : std::exchange(told_, {})) {
    is_lost_ |= event.watch < 0;
    if (event.watch < 0) continue;
    tree_.OnEvent(event.watch, event.name, now_us);
    if (event.is_watch_gone) tree_.OnWatchGone(event.watch);
  }
  if (now_us >= AllUs()) {
    looked_us_ = now_us;
    is_lost_ = false;
    events_.AddAnew();
    tree_.LookAtAll(now_us);
  }
  tree_.LookBehindLinks(now_us);
  tree_.LookAtDue(now_us);
  SayHowSoon();
}

void WatchRounds::SayHowSoon() {
  if (is_late_ == !events_.says_all()) return;
  is_late_ = !is_late_;
  hooks_.say(is_late_ ? fmt::format("changes may be seen only after {} s: {}",
                                    kAlonePeriodUs / 1'000'000 + 1, events_.reason())
                      : "changes are seen within a second again");
}

}  // namespace lorry::adapters
