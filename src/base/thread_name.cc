#include "base/thread_name.h"

#include <pthread.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <chrono>
#include <cstdint>
#include <thread>

namespace lorry {
namespace {

// The system's struct sched_attr, which the C library of Debian 12 does not declare.
struct SchedulingAttributes {
  uint32_t size = sizeof(SchedulingAttributes);
  uint32_t policy = 0;  // SCHED_OTHER
  uint64_t flags = 0;
  int32_t nice = 0;
  uint32_t priority = 0;
  uint64_t slice_ns = 0;  // before Linux 6.12: ignored for this policy
  uint64_t deadline_ns = 0;
  uint64_t period_ns = 0;
};

constexpr auto kLongestRun = std::chrono::microseconds(400);
constexpr auto kInstant = std::chrono::microseconds(30);

thread_local bool is_low = false;
thread_local std::chrono::steady_clock::time_point last_rest;

}  // namespace

void NameThisThread(const char* name) { pthread_setname_np(pthread_self(), name); }

void LowerThisThreadsPriority() {
  SchedulingAttributes low;
  low.nice = 6;            // about a fifth of a core that others want too
  low.slice_ns = 200'000;  // in small pieces: a step waits for the slowest of its threads
  // Zero is the calling thread. If the system refuses, nothing is lost.
  static_cast<void>(syscall(SYS_sched_setattr, 0, &low, 0));
  is_low = true;
}

void LetOthersRun() {
  if (!is_low || std::chrono::steady_clock::now() - last_rest < kLongestRun) return;
  std::this_thread::sleep_for(kInstant);
  last_rest = std::chrono::steady_clock::now();
}

}  // namespace lorry
