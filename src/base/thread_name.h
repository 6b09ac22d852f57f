// How the calling thread shows to the system.
#pragma once

namespace lorry {

// As top and gdb show it (15 characters at most).
void NameThisThread(const char* name);

}  // namespace lorry
