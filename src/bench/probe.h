// The inner loops that measure what a core can do; one implementation per instruction set, chosen
// like the kernels'.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/isa.h"

namespace lorry::bench {

struct Probe {
  // Reads every byte once, in streams as the kernels do, and returns a value that depends on all of
  // them.
  uint64_t (*read)(const std::byte* data, size_t num_bytes);
  // Run `rounds` of independent multiply-adds on registers; each returns the operations done (a
  // multiply-add is two).
  double (*bf16_dot)(int64_t rounds);  // null where the processor has no such instruction
  double (*f32_fma)(int64_t rounds);
  double (*int8_dot)(int64_t rounds);  // null likewise
};

Probe ProbeFor(kernels::Isa isa);

extern const Probe kPortableProbe;
extern const Probe kAvx2Probe;
extern const Probe kAvx512Probe;

}  // namespace lorry::bench
