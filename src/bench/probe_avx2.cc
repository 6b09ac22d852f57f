#include "bench/probe.h"

namespace lorry::bench {

constexpr int kLanes = 8;
#include "bench/probe_generic.inc"

const Probe kAvx2Probe = {&Read, nullptr, &F32Fma, nullptr};

}  // namespace lorry::bench
