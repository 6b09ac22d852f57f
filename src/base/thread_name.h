// How the calling thread shows and behaves to the system.
#pragma once

namespace lorry {

// As top and gdb show it (15 characters at most).
void NameThisThread(const char* name);

// Lets all others go first from here on: loaders must not take the compute threads' time.
void LowerThisThreadsPriority();

// Of a thread so lowered, now and then in long work: after 0.4 ms it sleeps for
// an instant. The system takes a core from whoever runs no more often than its clock ticks, every
// 4 ms, and a step waits for the slowest of its threads. Others return at once.
void LetOthersRun();

}  // namespace lorry
