// The readable definition of every kernel, in f32 on plain loops. Slow on purpose; the others are
// tested against it.
#include "kernels/ref/ref_kernels.h"
#include "kernels/table.h"

namespace lorry::kernels {

const KernelTable& RefTable() {
  static constexpr KernelTable table = {
      .product = ref::Product,
      .shrink = ref::Shrink,
      .expand = ref::Expand,
      .scale_and_shift = ref::ScaleAndShift,
      .rms_norm = ref::RmsNorm,
      .rope = ref::Rope,
      .attention = ref::Attention,
      .silu_mul = ref::SiluMul,
  };
  return table;
}

}  // namespace lorry::kernels
