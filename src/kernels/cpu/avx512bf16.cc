// The kernels for AVX-512 with BF16: compiled with its flags (see CMakeLists.txt).
#include "kernels/cpu/lanes.h"
// After the lanes, in this order.
#include "kernels/cpu/linear.inl"
#include "kernels/cpu/rows.inl"
// Stands on both.
#include "kernels/cpu/attention.inl"

namespace lorry::kernels {

const KernelTable& Avx512Bf16Table() {
  static constexpr KernelTable table = {
      .product = Product,
      .shrink = Shrink,
      .expand = Expand,
      .scale_and_shift = ScaleAndShift,
      .rms_norm = RmsNorm,
      .rope = Rope,
      .attention = Attention,
      .silu_mul = SiluMul,
  };
  return table;
}

}  // namespace lorry::kernels
