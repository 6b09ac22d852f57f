#include <cmath>

#include "kernels/ref/ref_kernels.h"

namespace lorry::kernels::ref {

void RmsNorm(const RmsNormArgs& args, Range rows) {
  for (int row = rows.begin; row < rows.end; ++row) {
    float* residual = args.residual + static_cast<ptrdiff_t>(row) * args.hidden;
    float sum = 0;
    for (int i = 0; i < args.hidden; ++i) {
      if (args.delta != nullptr)
        residual[i] += args.delta[static_cast<ptrdiff_t>(row) * args.delta_stride + i];
      sum += residual[i] * residual[i];
    }
    const float inverse_rms = 1 / std::sqrt(sum / static_cast<float>(args.hidden) + args.epsilon);
    for (int i = 0; i < args.hidden; ++i) {
      Set(args.out, args.act, static_cast<ptrdiff_t>(row) * args.hidden + i,
          residual[i] * inverse_rms * args.weight[i]);
    }
  }
}

void SiluMul(const SiluMulArgs& args, Range panels) {
  for (int panel = panels.begin; panel < panels.end; ++panel) {
    const float* gate = args.gate_up + static_cast<ptrdiff_t>(panel) * 2 * kPanel;
    const float* up = gate + kPanel;
    for (int lane = 0; lane < kPanel; ++lane) {
      const float silu = gate[lane] / (1 + std::exp(-gate[lane]));
      Set(args.out, args.act, static_cast<ptrdiff_t>(panel) * kPanel + lane, silu * up[lane]);
    }
  }
}

}  // namespace lorry::kernels::ref
