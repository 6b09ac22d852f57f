#include "bench/probe.h"

namespace lorry::bench {

constexpr int kLanes = 4;
#include "bench/probe_generic.inc"

const Probe kPortableProbe = {&Read, nullptr, &F32Fma, nullptr};

Probe ProbeFor(kernels::Isa isa) {
  switch (isa) {
    case kernels::Isa::kAvx512Bf16:
      return kAvx512Probe;
    case kernels::Isa::kAvx2:
      return kAvx2Probe;
    default:
      return kPortableProbe;
  }
}

}  // namespace lorry::bench
