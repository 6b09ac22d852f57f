#include "kernels/linear.h"

#include <algorithm>
#include <cstdint>

#include "base/check.h"
#include "kernels/table.h"

namespace lorry::kernels {
namespace {

constexpr size_t kAlign = 64;
constexpr size_t RoundUp(size_t bytes) { return (bytes + kAlign - 1) / kAlign * kAlign; }
constexpr int CeilDiv(int a, int b) { return (a + b - 1) / b; }

// The head of the scratch: one entry per task, then the shrunk rows themselves.
struct TaskPlan {
  size_t shrunk_offset = 0;  // of the task's part, from the start of the scratch
  int32_t shrink_items = 0;  // of this task and all before it
};

size_t ShrunkBytes(const LoraTask& task, DType act) {
  const size_t rows = task.row_end - task.row_begin;
  return RoundUp(rows * ShrunkStride(task.pair.rank) * DTypeBytes(act));
}

// How one task's shrink is cut: blocks of rows x blocks of ranks of about 128 kB of A.
struct ShrinkGrid {
  int rows_per_item = 64;
  int ranks_per_item = 0;
  int rank_items = 0;
  int num_items = 0;

  ShrinkGrid(const LoraTask& task, int k) {
    constexpr int kElementsPerItem = 64 * 1024;
    ranks_per_item = std::max(16, kElementsPerItem / k / 16 * 16);
    rank_items = CeilDiv(task.pair.rank, ranks_per_item);
    num_items = CeilDiv(task.row_end - task.row_begin, rows_per_item) * rank_items;
  }
};

void CheckTask(const LoraTask& task, const LinearArgs& args) {
  const LoraPair& pair = task.pair;
  CHECK(0 <= task.row_begin && task.row_begin < task.row_end && task.row_end <= args.rows);
  CHECK_MSG(pair.rank >= 1 && pair.n >= 1, "rank {} n {}", pair.rank, pair.n);
  CHECK(pair.a != nullptr && pair.b != nullptr);
  CHECK(task.y_panel_begin >= 0 && task.y_panel_step >= 1);
  CHECK_LT(task.y_panel_begin + (NumPanels(pair.n) - 1) * task.y_panel_step,
           args.weight.num_panels);
}

void CheckArgs(const LinearArgs& args) {
  const PackedMatrix& weight = args.weight;
  CHECK_GE(args.rows, 0);
  CHECK(weight.data != nullptr && weight.k >= 1 && weight.num_panels >= 1);
  CHECK(weight.dtype == DType::kBF16 || weight.dtype == DType::kF32);
  CHECK_GE(args.x_stride, weight.k);
  CHECK_GE(args.y_stride, weight.num_panels * kPanel);
  CHECK(args.lora.empty() || args.lora_scratch != nullptr);
  CHECK_EQ(reinterpret_cast<uintptr_t>(args.lora_scratch) % kAlign, 0u);
  for (const LoraTask& task : args.lora) CheckTask(task, args);
}

// Fills the plan in the scratch; returns the number of shrink items.
int PlanShrink(const LinearArgs& args, TaskPlan* plan) {
  size_t offset = RoundUp(args.lora.size() * sizeof(TaskPlan));
  int items = 0;
  for (size_t i = 0; i < args.lora.size(); ++i) {
    const LoraTask& task = args.lora[i];
    items += ShrinkGrid(task, args.weight.k).num_items;
    plan[i] = {offset, items};
    offset += ShrunkBytes(task, args.weight.dtype);
  }
  return items;
}

void ShrinkItem(const KernelTable& table, const LinearArgs& args, const TaskPlan* plan, int item) {
  const auto* found =
      std::upper_bound(plan, plan + args.lora.size(), item,
                       [](int value, const TaskPlan& entry) { return value < entry.shrink_items; });
  const LoraTask& task = args.lora[found - plan];
  const int item_in_task = found == plan ? item : item - found[-1].shrink_items;
  const ShrinkGrid grid(task, args.weight.k);
  const int row = task.row_begin + item_in_task / grid.rank_items * grid.rows_per_item;
  const int rank = item_in_task % grid.rank_items * grid.ranks_per_item;
  table.shrink(args, task, {row, std::min(task.row_end, row + grid.rows_per_item)},
               {rank, std::min(task.pair.rank, rank + grid.ranks_per_item)},
               static_cast<std::byte*>(args.lora_scratch) + found->shrunk_offset);
}

// Where a task's part of `panels` begins and how many panels of the pair it is.
Range PairPanels(const LoraTask& task, Range panels) {
  // The pair's panels p with panels.begin <= y_panel_begin + p * step < panels.end.
  const int begin = CeilDiv(std::max(0, panels.begin - task.y_panel_begin), task.y_panel_step);
  const int end = CeilDiv(std::max(0, panels.end - task.y_panel_begin), task.y_panel_step);
  return {begin, std::min(NumPanels(task.pair.n), end)};
}

// The first lines of the next task's B, whose place the processor cannot guess.
void PrefetchTask(const LinearArgs& args, size_t task_idx, Range panels) {
  if (task_idx >= args.lora.size()) return;
  const LoraPair& pair = args.lora[task_idx].pair;
  const auto* b =
      static_cast<const std::byte*>(pair.b) +
      PairPanels(args.lora[task_idx], panels).begin * PanelBytes(pair.rank, args.weight.dtype);
  constexpr int kBytes = 4096;
  for (int byte = 0; byte < kBytes; byte += kAlign) __builtin_prefetch(b + byte);
}

// Adds every task's part of y[rows, panels], in the order of the tasks.
void ExpandItem(const KernelTable& table, const LinearArgs& args, const TaskPlan* plan, Range rows,
                Range panels) {
  for (size_t i = 0; i < args.lora.size(); ++i) {
    const LoraTask& task = args.lora[i];
    const int row_begin = std::max(rows.begin, task.row_begin);
    const int row_end = std::min(rows.end, task.row_end);
    const auto [begin, end] = PairPanels(task, panels);
    if (row_begin >= row_end || begin >= end) continue;
    PrefetchTask(args, i + 1, panels);
    table.expand(args, task, {row_begin, row_end}, {begin, end},
                 static_cast<const std::byte*>(args.lora_scratch) + plan[i].shrunk_offset);
  }
}

// y [rows, panels] cut into blocks, for all rows of a decode step or for tiles of a prompt.
struct Blocks {
  int rows_per_item;
  int panels_per_item;
  int panel_items;
  int num_items;

  Blocks(const LinearArgs& args, int rows, int panels)
      : rows_per_item(rows),
        panels_per_item(panels),
        panel_items(CeilDiv(args.weight.num_panels, panels)),
        num_items(CeilDiv(args.rows, rows) * panel_items) {}

  Range Rows(const LinearArgs& args, int item) const {
    const int begin = item / panel_items * rows_per_item;
    return {begin, std::min(args.rows, begin + rows_per_item)};
  }
  Range Panels(const LinearArgs& args, int item) const {
    const int begin = item % panel_items * panels_per_item;
    return {begin, std::min(args.weight.num_panels, begin + panels_per_item)};
  }
};

// The base product reads each panel once per block of rows: at least 64 kB of weights an item, in
// whole register tiles (kernels take up to three panels at a time).
Blocks ProductBlocks(const LinearArgs& args) {
  constexpr int kRows = 256;
  constexpr int kTilePanels = 3;
  constexpr size_t kItemBytes = 64 * 1024;
  const size_t tile_bytes = kTilePanels * PanelBytes(args.weight.k, args.weight.dtype);
  return Blocks(args, kRows,
                kTilePanels * static_cast<int>((kItemBytes + tile_bytes - 1) / tile_bytes));
}

// Four items per thread and block of rows, so that tasks on a part of the columns still spread.
Blocks ExpandBlocks(const LinearArgs& args, int num_threads) {
  constexpr int kRows = 64;
  constexpr int kTilePanels = 3;
  const int panels = CeilDiv(args.weight.num_panels, 4 * num_threads);
  return Blocks(args, kRows, CeilDiv(panels, kTilePanels) * kTilePanels);
}

}  // namespace

size_t LoraScratchBytes(std::span<const LoraTask> tasks, DType act) {
  size_t bytes = RoundUp(tasks.size() * sizeof(TaskPlan));
  for (const LoraTask& task : tasks) bytes += ShrunkBytes(task, act);
  return bytes;
}

void Linear(const Stream& stream, const LinearArgs& args) {
  CheckArgs(args);
  const KernelTable& table = Table();
  const Blocks product = ProductBlocks(args);
  auto* plan = static_cast<TaskPlan*>(args.lora_scratch);
  const int shrink_items = PlanShrink(args, plan);
  // Both read x only. The large items go first, so that the small ones even out the end.
  stream.ParallelFor(product.num_items + shrink_items, [&](int item, int) {
    if (item < product.num_items) {
      table.product(args, product.Rows(args, item), product.Panels(args, item));
    } else {
      ShrinkItem(table, args, plan, item - product.num_items);
    }
  });
  if (args.lora.empty()) return;
  const Blocks expand = ExpandBlocks(args, stream.num_threads());
  stream.ParallelFor(expand.num_items, [&](int item, int) {
    ExpandItem(table, args, plan, expand.Rows(args, item), expand.Panels(args, item));
  });
}

}  // namespace lorry::kernels
