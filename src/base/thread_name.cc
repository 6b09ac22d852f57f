#include "base/thread_name.h"

#include <pthread.h>
#include <sys/resource.h>

namespace lorry {

void NameThisThread(const char* name) { pthread_setname_np(pthread_self(), name); }

void LowerThisThreadsPriority() {
  // On Linux 0 is the calling thread, not the process. If the system refuses, nothing is lost.
  static_cast<void>(setpriority(PRIO_PROCESS, 0, 10));
}

}  // namespace lorry
