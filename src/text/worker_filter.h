// The system calls that a text worker may make from its first call on: memory, threads, time, and
// the socket that it has. Owns: nothing. Thread: the process's first, before others start.
#pragma once

namespace lorry::text {

// All other calls fail with EPERM from here on. False: this system has no such filters.
bool AllowOnlyWorkersCalls();

}  // namespace lorry::text
