#include "kernels/norm.h"

#include <algorithm>

#include "base/check.h"
#include "kernels/table.h"

namespace lorry::kernels {

void RmsNorm(const Stream& stream, const RmsNormArgs& args) {
  CHECK_GE(args.rows, 0);
  CHECK_GE(args.hidden, 1);
  CHECK(args.delta == nullptr || args.delta_stride >= args.hidden);
  CHECK(args.act == DType::kBF16 || args.act == DType::kF32);
  constexpr int kElementsPerItem =
      16384;  // some microseconds: below that a second thread does not pay
  const int rows_per_item = std::max(1, kElementsPerItem / args.hidden);
  const auto rms_norm = Table().rms_norm;
  stream.ParallelFor((args.rows + rows_per_item - 1) / rows_per_item, [&](int item_idx, int) {
    const int begin = item_idx * rows_per_item;
    rms_norm(args, {begin, std::min(args.rows, begin + rows_per_item)});
  });
}

}  // namespace lorry::kernels
