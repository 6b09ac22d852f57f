// The kernels of one instruction set. Each entry computes a range of an op on the calling thread;
// the op's own .cc checks shapes, cuts the work into ranges and runs them on the stream. A result's
// bits never depend on how it was cut.
//
//     ref/   the readable definition, in plain f32
//     cpu/   one source over 16 lanes (cpu/lanes.h), compiled for SSE2 (portable), AVX2 and AVX-512
//     with BF16
#pragma once

#include "kernels/attention.h"
#include "kernels/isa.h"
#include "kernels/linear.h"
#include "kernels/norm.h"
#include "kernels/rope.h"
#include "kernels/silu_mul.h"

namespace lorry::kernels {

struct Range {
  int begin = 0;
  int end = 0;
};

// Rows that a shrunk row of `rank` takes in scratch, in act elements: pairs are whole.
constexpr int ShrunkStride(int rank) { return (rank + 1) / 2 * 2; }

// A block of 16 tokens in the KV cache may be attended to as soon as its first tokens are written,
// so what follows them must be finite (a page's earlier life may have left anything): whoever
// writes the last row of a sequence's step clears the rest of its block, if that block was begun in
// this step. Later steps find it cleared.
constexpr bool LastOfFreshBlock(const SequenceRows& sequence, int row) {
  const int position = sequence.first_position + row;
  return row == sequence.num_rows - 1 &&
         position / kKvBlockTokens * kKvBlockTokens >= sequence.first_position;
}

struct KernelTable {
  // y[rows, panels] = x W^T + bias. `rows` and `panels` index args.
  void (*product)(const LinearArgs& args, Range rows, Range panels);
  // shrunk[row - task.row_begin, rank] = scale * (x A^T) in act, for `rows` of x and `ranks` of A.
  // Row stride ShrunkStride. The padding of an odd rank is written as zero.
  void (*shrink)(const LinearArgs& args, const LoraTask& task, Range rows, Range ranks,
                 void* shrunk);
  // y[rows, task's panels] += shrunk B^T. `panels` index pair.b.
  void (*expand)(const LinearArgs& args, const LoraTask& task, Range rows, Range panels,
                 const void* shrunk);
  // y[rows, task's panels] = y * task.y_scale + task.offset_weight * task.y_offset, as far as
  // given.
  void (*scale_and_shift)(const LinearArgs& args, const LoraTask& task, Range rows, Range panels);
  void (*rms_norm)(const RmsNormArgs& args, Range rows);
  // `rows` of the sequence.
  void (*rope)(const RopeArgs& args, const SequenceRows& sequence, Range rows);
  // Queries of `rows` (of the sequence) in the heads that share kv_head.
  void (*attention)(const AttentionArgs& args, const SequenceRows& sequence, int kv_head,
                    Range rows);
  // `panels` index the [rows * num_panels] panels of out.
  void (*silu_mul)(const SiluMulArgs& args, Range panels);
};

const KernelTable& Table();  // of SelectedIsa()

const KernelTable& RefTable();
const KernelTable& PortableTable();
const KernelTable& Avx2Table();
const KernelTable& Avx512Bf16Table();

}  // namespace lorry::kernels
