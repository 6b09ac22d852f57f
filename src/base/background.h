// How threads share the cores with those that compute steps. A step is some hundred parallel
// regions, each of which waits for the slowest of its threads: who takes one core for a while stops
// them all.
#pragma once

#include <functional>

namespace lorry {

// The calling thread does long work (reading, hashing, packing, writing) from here on, and others
// go first.
void BecomeBackgroundThread();

// Of such a thread, every tenth of a millisecond or so: after a while it sleeps for an instant. The
// system takes a core from whoever runs no more often than its clock ticks, every 4 ms. Others
// return at once.
void LetOthersRun();

// Runs `work` on a thread of its own, a background thread if the calling one is; nobody waits for
// it. False: the system has no thread to give.
bool RunBeside(std::function<void()> work);

// The calling thread has little to do at a time, that somebody waits for (telling tokens): when it
// wakes it goes before those that compute, not at the next tick.
void BecomeQuickThread();

}  // namespace lorry
