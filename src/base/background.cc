#include "base/background.h"

#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <system_error>
#include <thread>
#include <utility>

namespace lorry {
namespace {

using std::chrono::microseconds;
using std::chrono::steady_clock;

// The system's struct sched_attr, which the C library of Debian 12 does not declare.
struct SchedulingAttributes {
  uint32_t size = sizeof(SchedulingAttributes);
  uint32_t policy = 0;
  uint64_t flags = 0x08;  // SCHED_FLAG_KEEP_POLICY
  int32_t nice = 0;
  uint32_t priority = 0;
  uint64_t slice_ns = 0;  // before Linux 6.12: ignored for this policy
  uint64_t deadline_ns = 0;
  uint64_t period_ns = 0;
};

// If the system refuses, nothing is lost.
void SetAttributesOfThisThread(int added_nice, uint64_t slice_ns) {
  SchedulingAttributes attributes;
  attributes.nice = std::min(19, getpriority(PRIO_PROCESS, 0) + added_nice);
  attributes.slice_ns = slice_ns;
  static_cast<void>(syscall(SYS_sched_setattr, 0, &attributes, 0));
}

// Figures: docs/decisions/0008-loaders-beside-streams.md
constexpr int kBackgroundNice = 6;
constexpr uint64_t kBackgroundSliceNs = 200'000;
constexpr auto kLongestRun = microseconds(250);
constexpr auto kInstant = microseconds(30);
constexpr uint64_t kQuickSliceNs = 100'000;

thread_local bool is_background = false;
thread_local steady_clock::time_point last_rest;

}  // namespace

void BecomeBackgroundThread() {
  SetAttributesOfThisThread(kBackgroundNice, kBackgroundSliceNs);
  is_background = true;
}

void LetOthersRun() {
  if (!is_background || steady_clock::now() - last_rest < kLongestRun) return;
  std::this_thread::sleep_for(kInstant);
  last_rest = steady_clock::now();
}

bool RunBeside(std::function<void()> work) {
  try {
    std::thread([is_low = is_background, work = std::move(work)] {
      if (is_low) BecomeBackgroundThread();
      work();
    }).detach();
  } catch (const std::system_error&) {
    return false;
  }
  return true;
}

// The system lets who wakes with the shorter slice go first (Linux 6.12 and later).
void BecomeQuickThread() { SetAttributesOfThisThread(0, kQuickSliceNs); }

}  // namespace lorry
