#include "base/thread_name.h"

#include <pthread.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cstdint>

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

}  // namespace

void NameThisThread(const char* name) { pthread_setname_np(pthread_self(), name); }

void LowerThisThreadsPriority() {
  SchedulingAttributes low;
  low.nice = 7;            // about a sixth of a core that others want too
  low.slice_ns = 200'000;  // in small pieces: a step waits for the slowest of its threads
  // Zero is the calling thread. If the system refuses, nothing is lost.
  static_cast<void>(syscall(SYS_sched_setattr, 0, &low, 0));
}

}  // namespace lorry
