// Ctrl-C and SIGTERM as a question that long work asks itself.
// Owns: both signals, from the first call on. Thread: one calls; any reads.
#pragma once

#include <atomic>

namespace lorry::apps {

inline constexpr int kInterruptedStatus = 130;  // what shells expect of a command that was

// Becomes true with the first of these signals; the second ends the process at once.
const std::atomic<bool>& CatchInterrupts();

}  // namespace lorry::apps
