#include "kernels/sequence_ranges.h"

#include "base/check.h"

namespace lorry::kernels {

int CheckSequences(std::span<const SequenceRows> sequences) {
  int num_rows = 0;
  for (const SequenceRows& sequence : sequences) {
    CHECK_GE(sequence.row_begin, num_rows);
    CHECK_GE(sequence.num_rows, 0);
    CHECK_GE(sequence.first_position, 0);
    num_rows = sequence.row_begin + sequence.num_rows;
  }
  return num_rows;
}

void CheckKvView(const KvView& kv, int layer) {
  const KvLayout& layout = kv.layout;
  CHECK_GE(layer, 0);
  CHECK_LT(layer, layout.num_layers);
  CHECK(layout.num_kv_heads >= 1);
  CHECK_MSG(layout.head_dim >= 2 && layout.head_dim <= kMaxHeadDim && layout.head_dim % 2 == 0,
            "head_dim {}", layout.head_dim);
  CHECK_MSG(layout.page_tokens >= kKvBlockTokens && layout.page_tokens % kKvBlockTokens == 0,
            "page_tokens {}", layout.page_tokens);
  CHECK(layout.dtype == DType::kBF16 || layout.dtype == DType::kF32);
}

}  // namespace lorry::kernels
