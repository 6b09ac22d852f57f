#include <immintrin.h>

#include "bench/probe.h"

namespace lorry::bench {
namespace {

// Twelve chains hide the latency of an instruction that starts twice a cycle and takes up to six.
// They are twelve variables: an array would live in memory, and its loads and stores would be
// measured.
constexpr int kChains = 12;
#define EACH_CHAIN(DO) DO(0) DO(1) DO(2) DO(3) DO(4) DO(5) DO(6) DO(7) DO(8) DO(9) DO(10) DO(11)
#define KEEP(vector) asm volatile("" : "+v"(vector))

uint64_t Read(const std::byte* data, size_t num_bytes) {
  constexpr size_t kStep = 8;  // vectors of 64 bytes
  __m512i sums[kStep];
  for (__m512i& sum : sums) sum = _mm512_setzero_si512();
  const size_t num_vectors = num_bytes / 64 / kStep * kStep;
  for (size_t i = 0; i < num_vectors; i += kStep) {
    for (size_t j = 0; j < kStep; ++j) {
      sums[j] = _mm512_xor_si512(sums[j], _mm512_load_si512(data + 64 * (i + j)));
    }
  }
  __m512i all = sums[0];
  for (size_t j = 1; j < kStep; ++j) all = _mm512_xor_si512(all, sums[j]);
  alignas(64) uint64_t words[8];
  _mm512_store_si512(words, all);
  uint64_t result = 0;
  for (uint64_t word : words) result ^= word;
  return result;
}

double Bf16Dot(int64_t rounds) {
  const auto a = (__m512bh)_mm512_set1_epi16(0x3f80);
#define DECLARE(i) __m512 sum##i = _mm512_setzero_ps();
  EACH_CHAIN(DECLARE)
  for (int64_t round = 0; round < rounds; ++round) {
#define MULTIPLY_ADD(i)                    \
  sum##i = _mm512_dpbf16_ps(sum##i, a, a); \
  KEEP(sum##i);
    EACH_CHAIN(MULTIPLY_ADD)
#undef MULTIPLY_ADD
  }
  return 64.0 * kChains * static_cast<double>(rounds);  // 16 lanes x 2 products x (multiply, add)
}

double F32Fma(int64_t rounds) {
  const __m512 a = _mm512_set1_ps(0.999f);
  EACH_CHAIN(DECLARE)
#undef DECLARE
  for (int64_t round = 0; round < rounds; ++round) {
#define MULTIPLY_ADD(i)                   \
  sum##i = _mm512_fmadd_ps(sum##i, a, a); \
  KEEP(sum##i);
    EACH_CHAIN(MULTIPLY_ADD)
#undef MULTIPLY_ADD
  }
  return 32.0 * kChains * static_cast<double>(rounds);
}

double Int8Dot(int64_t rounds) {
  const __m512i a = _mm512_set1_epi8(1);
#define DECLARE(i) __m512i sum##i = _mm512_setzero_si512();
  EACH_CHAIN(DECLARE)
#undef DECLARE
  for (int64_t round = 0; round < rounds; ++round) {
#define MULTIPLY_ADD(i)                       \
  sum##i = _mm512_dpbusd_epi32(sum##i, a, a); \
  KEEP(sum##i);
    EACH_CHAIN(MULTIPLY_ADD)
#undef MULTIPLY_ADD
  }
  return 128.0 * kChains * static_cast<double>(rounds);  // 16 lanes x 4 products x (multiply, add)
}

}  // namespace

const Probe kAvx512Probe = {&Read, &Bf16Dot, &F32Fma, &Int8Dot};

}  // namespace lorry::bench
