#include "kernels/ref/ref_kernels.h"

namespace lorry::kernels::ref {

void Product(const LinearArgs& args, Range rows, Range panels) {
  const PackedMatrix& weight = args.weight;
  for (int row = rows.begin; row < rows.end; ++row) {
    const ptrdiff_t x_row = static_cast<ptrdiff_t>(row) * args.x_stride;
    float* y_row = args.y + static_cast<ptrdiff_t>(row) * args.y_stride;
    for (int column = panels.begin * kPanel; column < panels.end * kPanel; ++column) {
      float sum = 0;
      for (int k_idx = 0; k_idx < weight.k; ++k_idx) {
        sum += Get(args.x, weight.dtype, x_row + k_idx) *
               Get(weight.data, weight.dtype,
                   PackedIndex(weight.dtype, weight.k, column / kPanel, k_idx, column % kPanel));
      }
      y_row[column / kPanel * args.y_panel_step * kPanel + column % kPanel] =
          args.bias == nullptr ? sum : sum + args.bias[column];
    }
  }
}

void Shrink(const LinearArgs& args, const LoraTask& task, Range rows, Range ranks, void* shrunk) {
  const DType act = args.weight.dtype;
  const LoraPair& pair = task.pair;
  const int k = args.weight.k;
  const int stride = ShrunkStride(pair.rank);
  for (int row = rows.begin; row < rows.end; ++row) {
    const ptrdiff_t shrunk_row = static_cast<ptrdiff_t>(row - task.row_begin) * stride;
    for (int rank = ranks.begin; rank < ranks.end; ++rank) {
      float sum = 0;
      for (int k_idx = 0; k_idx < k; ++k_idx) {
        sum += Get(args.x, act, static_cast<ptrdiff_t>(row) * args.x_stride + k_idx) *
               Get(pair.a, act, static_cast<ptrdiff_t>(rank) * k + k_idx);
      }
      Set(shrunk, act, shrunk_row + rank, sum * pair.scale);
    }
    if (ranks.end == pair.rank && pair.rank < stride) Set(shrunk, act, shrunk_row + pair.rank, 0);
  }
}

void Expand(const LinearArgs& args, const LoraTask& task, Range rows, Range panels,
            const void* shrunk) {
  const DType act = args.weight.dtype;
  const LoraPair& pair = task.pair;
  for (int row = rows.begin; row < rows.end; ++row) {
    const ptrdiff_t shrunk_row =
        static_cast<ptrdiff_t>(row - task.row_begin) * ShrunkStride(pair.rank);
    float* y_row = args.y + static_cast<ptrdiff_t>(row) * args.y_stride;
    for (int column = panels.begin * kPanel; column < panels.end * kPanel; ++column) {
      const int panel = column / kPanel;
      float delta = 0;
      for (int rank = 0; rank < pair.rank; ++rank) {
        delta += Get(shrunk, act, shrunk_row + rank) *
                 Get(pair.b, act, PackedIndex(act, pair.rank, panel, rank, column % kPanel));
      }
      y_row[(task.y_panel_begin + panel * task.y_panel_step) * kPanel + column % kPanel] += delta;
    }
  }
}

void ScaleAndShift(const LinearArgs& args, const LoraTask& task, Range rows, Range panels) {
  for (int row = rows.begin; row < rows.end; ++row) {
    for (int column = panels.begin * kPanel; column < panels.end * kPanel; ++column) {
      const int panel = task.y_panel_begin + column / kPanel * task.y_panel_step;
      float& y =
          args.y[static_cast<ptrdiff_t>(row) * args.y_stride + panel * kPanel + column % kPanel];
      if (task.y_scale != nullptr) y *= task.y_scale[column];
      if (task.y_offset != nullptr) y += task.offset_weight * task.y_offset[column];
    }
  }
}

}  // namespace lorry::kernels::ref
