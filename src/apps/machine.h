// What this process may use of the machine: cores and memory, within the limits of its container.
// Owns: nothing. Thread: any.
#pragma once

#include <cstddef>
#include <string>

namespace lorry::apps {

// Cores that may run us: the affinity mask, and no more than the container's CPU quota (rounded
// up). At least 1.
int UsableCores();

// Memory that can still be taken without pushing anything out: the system's estimate, within the
// container's limit.
size_t AvailableMemoryBytes();

// The parsers behind them, for texts of the kernel's files. 0: the text sets no limit.
int CoresOfCpuMax(const std::string& cpu_max);           // cgroup v2 cpu.max: "150000 100000" is 2
size_t AvailableOfMeminfo(const std::string& meminfo);   // "MemAvailable:   123 kB"
size_t LimitOfMemoryMax(const std::string& memory_max);  // cgroup v2 memory.max: "max" or bytes

}  // namespace lorry::apps
