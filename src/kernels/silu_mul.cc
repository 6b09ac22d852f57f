#include "kernels/silu_mul.h"

#include <algorithm>

#include "base/check.h"
#include "kernels/table.h"

namespace lorry::kernels {

void SiluMul(const Stream& stream, const SiluMulArgs& args) {
  CHECK_GE(args.rows, 0);
  CHECK_GE(args.num_panels, 1);
  CHECK(args.act == DType::kBF16 || args.act == DType::kF32);
  // Rows follow each other without a gap, so the op is one run of rows x num_panels panels.
  constexpr int kPanelsPerItem = 384;  // about two microseconds
  const int num_panels = args.rows * args.num_panels;
  const auto silu_mul = Table().silu_mul;
  stream.ParallelFor((num_panels + kPanelsPerItem - 1) / kPanelsPerItem, [&](int item_idx, int) {
    const int begin = item_idx * kPanelsPerItem;
    silu_mul(args, {begin, std::min(num_panels, begin + kPanelsPerItem)});
  });
}

}  // namespace lorry::kernels
