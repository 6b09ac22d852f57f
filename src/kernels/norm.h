// RMS norm (Zhang & Sennrich 2019) with the residual addition before it.
#pragma once

#include "device/dtype.h"
#include "device/stream.h"

namespace lorry::kernels {

struct RmsNormArgs {
  float* residual = nullptr;     // [rows, hidden] f32; delta is added into it first
  const float* delta = nullptr;  // [rows, hidden] f32, row stride delta_stride, or null
  int delta_stride = 0;
  const float* weight = nullptr;  // [hidden] f32
  float epsilon = 0;
  int rows = 0;
  int hidden = 0;
  DType act = DType::kBF16;
  void* out = nullptr;  // [rows, hidden] act = residual / rms(residual) * weight
};

void RmsNorm(const Stream& stream, const RmsNormArgs& args);

}  // namespace lorry::kernels
