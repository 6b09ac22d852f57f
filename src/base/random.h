// Philox4x32-10, a counter-based generator (Salmon et al., "Parallel random numbers: as easy as 1,
// 2, 3", SC'11, section 5.3 and table 2 for the constants). No state: a number is a function of
// (key, counter), so the draw of a token depends on (seed, sequence index, position) only, and
// never on the batch around it.
#pragma once

#include <array>
#include <cstdint>

namespace lorry {

std::array<uint32_t, 4> Philox4x32(std::array<uint32_t, 4> counter, std::array<uint32_t, 2> key);

// Uniform in [0, 1), 53 bits, for the `position`-th token of sequence `seq_idx` of a request with
// `seed`.
double UniformAt(uint64_t seed, uint32_t seq_idx, uint64_t position);

}  // namespace lorry
