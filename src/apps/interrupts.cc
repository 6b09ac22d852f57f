#include "apps/interrupts.h"

#include <signal.h>

namespace lorry::apps {
namespace {

std::atomic<bool> g_interrupted = false;  // lock-free, so a signal handler may set it

}  // namespace

const std::atomic<bool>& CatchInterrupts() {
  struct sigaction action = {};
  action.sa_handler = [](int) { g_interrupted = true; };
  action.sa_flags = static_cast<int>(SA_RESETHAND);
  for (const int signal : {SIGINT, SIGTERM}) sigaction(signal, &action, nullptr);
  return g_interrupted;
}

}  // namespace lorry::apps
