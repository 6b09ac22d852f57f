// What this machine can do, measured: every figure of the benchmarks stands beside one of these.
// Owns: the buffer that is read. Thread: the caller's stream. Never: trusts a datasheet.
#pragma once

#include <memory>
#include <string>

#include "base/result.h"
#include "device/buffer.h"
#include "device/stream.h"

namespace lorry::bench {

struct Limits {
  double read_bytes_per_s = 0;
  double bf16_flops = 0;  // 0: no such instruction, the f32 rate stands in
  double f32_flops = 0;
  double int8_ops = 0;  // 0: no such instruction
  double ArithmeticRate(bool bf16) const { return bf16 && bf16_flops > 0 ? bf16_flops : f32_flops; }
};

class LimitProbe {
 public:
  // buffer_bytes: far beyond the last-level cache.
  static Result<LimitProbe> Create(size_t buffer_bytes);

  // One pass over the whole buffer by all threads of the stream.
  double ReadRate(const Stream& stream) const;
  double ReadRateOf(const Stream& stream,
                    size_t num_bytes) const;  // a part of the buffer, a new part each call
  double Bf16Rate(const Stream& stream) const;
  double F32Rate(const Stream& stream) const;
  double Int8Rate(const Stream& stream) const;

  // Medians of `rounds` measurements, all kinds in turn.
  Limits Measure(const Stream& stream, int rounds) const;

 private:
  Buffer buffer_;
  mutable size_t next_offset_ = 0;
};

// "AMD EPYC family 26 model 2, 2 threads, avx512bf16": the line that stands above every result.
std::string MachineName(int num_threads);

}  // namespace lorry::bench
