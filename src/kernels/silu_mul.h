// out = silu(gate) * up, over gate and up panels that lie interleaved (16 gates, 16 ups, ...).
#pragma once

#include "device/dtype.h"
#include "device/stream.h"

namespace lorry::kernels {

struct SiluMulArgs {
  const float* gate_up =
      nullptr;  // [rows, num_panels][gate 16 | up 16] f32, row stride 32 * num_panels
  int rows = 0;
  int num_panels = 0;  // padded ffn / 16
  DType act = DType::kBF16;
  void* out = nullptr;  // [rows, 16 * num_panels] act; the padding comes out as zero
};

void SiluMul(const Stream& stream, const SiluMulArgs& args);

}  // namespace lorry::kernels
