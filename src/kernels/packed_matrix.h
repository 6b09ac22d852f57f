// The one layout of dense weights on the CPU, for all instruction sets.
//
// A weight W [n, k] (PyTorch's [out, in]) is cut into panels of 16 outputs; inside a panel the
// inputs go by pairs:
//     bf16: [n/16][k/2][16][2]       one 64-byte line = 16 outputs x 2 inputs, what vdpbf16ps takes
//     f32:  [n/16][k]  [16]
// n is padded to 16 and (bf16) k to 2 with zeros. A panel is contiguous, so a thread that owns
// panels reads one stream.
#pragma once

#include <cstddef>

#include "device/dtype.h"

namespace lorry::kernels {

inline constexpr int kPanel = 16;  // outputs per panel

struct PackedMatrix {
  const void* data = nullptr;  // [num_panels][k pairs][16][2] bf16 or [num_panels][k][16] f32
  DType dtype = DType::kBF16;  // kBF16 or kF32
  int num_panels = 0;          // padded n / 16
  int k = 0;                   // inputs, unpadded
};

constexpr int NumPanels(int n) { return (n + kPanel - 1) / kPanel; }
// Bytes of one panel / of `num_panels` panels with k inputs.
size_t PanelBytes(int k, DType dtype);

struct PackArgs {
  const void* source;  // [n, k] source_dtype, row-major, contiguous
  DType source_dtype;  // kBF16, kF16, kF32 or kF64
  int n = 0;
  int k = 0;
  void* panels;  // [panels][PanelBytes(k, dtype)] packed destination, already zeroed
  DType dtype;   // kBF16 or kF32
  int panel_begin =
      0;  // source row i goes to panel panel_begin + (i / 16) * panel_step, lane i % 16
  int panel_step = 1;  // 2 interleaves two weights panel by panel (gate and up)
};
void PackRows(const PackArgs& args);

// Row `n_idx` of a packed matrix as f32 [k]. For embeddings that share the output head's weights.
void UnpackRow(const PackedMatrix& matrix, int n_idx, float* row);

}  // namespace lorry::kernels
