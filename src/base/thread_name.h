// How the calling thread shows and behaves to the system.
#pragma once

namespace lorry {

// As top and gdb show it (15 characters at most).
void NameThisThread(const char* name);

// Lets all others go first from here on: loaders must not take the compute threads' time.
void LowerThisThreadsPriority();

}  // namespace lorry
