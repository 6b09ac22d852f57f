// y = x W^T + bias + sum over LoRA tasks of scale (x A^T) B^T, accumulated in f32. An adapter may
// also bring its rows a weight of its own, and scale and shift their outputs.
//
// Bits: every y[row, column] is one chain over k in ascending order (pairs of k for bf16), then the
// bias, then each task's chain over its rank, its scale and its offset, whatever the number of
// rows, the row's place or the threads. LoRA rows are exact at their own rank.
#pragma once

#include <span>

#include "device/dtype.h"
#include "device/stream.h"
#include "kernels/packed_matrix.h"

namespace lorry::kernels {

// One adapter's matrices for one projection, in the adapter's memory.
struct LoraPair {
  const void* a = nullptr;  // [rank, k] act dtype, row-major (as PEFT stores lora_A)
  const void* b =
      nullptr;   // packed as a weight [n, rank]: [n/16][rank/2][16][2] bf16 or [n/16][rank][16] f32
  int rank = 0;  // 1..512, true; 0: none
  int n = 0;     // outputs, unpadded
  float scale = 0;  // alpha / rank, or alpha / sqrt(rank)
};

// Rows [row_begin, row_end) of the step use `pair`; its output panel p is added to y's panel
// y_panel_begin + p * y_panel_step. Then these outputs are multiplied by y_scale (DoRA), and
// offset_weight * y_offset (biases) is added, where there are such vectors.
struct LoraTask {
  int row_begin = 0;
  int row_end = 0;
  LoraPair pair;  // rank 0, n set: no matrices, the vectors alone
  int y_panel_begin = 0;
  int y_panel_step = 1;
  const float* y_scale = nullptr;   // [n padded to 16] f32
  const float* y_offset = nullptr;  // [n padded to 16] f32
  float offset_weight = 1;
};

// Rows [row_begin, row_end) of the step have a weight of their own in place of some of y's panels
// (and no bias there).
struct OwnWeight {
  int row_begin = 0;
  int row_end = 0;
  PackedMatrix weight;  // [n, k] of the same k
  int y_panel_begin = 0;
  int y_panel_step = 1;
};

struct LinearArgs {
  const void* x = nullptr;  // [rows, k] act dtype, row stride x_stride (elements)
  int rows = 0;
  int x_stride = 0;
  PackedMatrix weight;          // its dtype is the act dtype
  const float* bias = nullptr;  // [num_panels * 16] f32 in y's column order, or null
  float* y = nullptr;           // [rows, num_panels * 16] f32, row stride y_stride (elements)
  int y_stride = 0;
  int y_panel_step = 1;  // from one panel of the weight to the next in y
  int y_num_panels = 0;  // panels of y that own weights and tasks may reach; 0: the weight's
  std::span<const OwnWeight> own;  // before the tasks; no two of the same rows and panels
  std::span<const LoraTask> lora;  // empty for the base alone
  void* lora_scratch = nullptr;    // [LoraScratchBytes(lora)] bytes, 64-byte aligned
};

// Scratch for the shrunk rows of all tasks: sum of rows x (rank rounded up to 2) act elements, each
// task's part 64-byte aligned.
size_t LoraScratchBytes(std::span<const LoraTask> tasks, DType act);

void Linear(const Stream& stream, const LinearArgs& args);

}  // namespace lorry::kernels
