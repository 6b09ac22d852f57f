// What the system says this process occupies.
#pragma once

#include <cstddef>

namespace lorry::bench {

size_t ResidentBytes();  // VmRSS; 0 where /proc does not say

}  // namespace lorry::bench
