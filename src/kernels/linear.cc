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
  int32_t expand_items = 0;  // of this task's group and all before it
};

size_t ShrunkBytes(const LoraTask& task, DType act) {
  const size_t rows = task.row_end - task.row_begin;
  return RoundUp(rows * ShrunkStride(task.pair.rank) * DTypeBytes(act));
}

// Panels of y that anything may write.
int YPanels(const LinearArgs& args) { return std::max(args.y_num_panels, args.weight.num_panels); }

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
    num_items = CeilDiv(task.row_end - task.row_begin, rows_per_item) * rank_items;  // rank 0: none
  }
};

void CheckTask(const LoraTask& task, const LinearArgs& args) {
  const LoraPair& pair = task.pair;
  CHECK(0 <= task.row_begin && task.row_begin < task.row_end && task.row_end <= args.rows);
  CHECK_MSG(pair.rank >= 0 && pair.n >= 1, "rank {} n {}", pair.rank, pair.n);
  CHECK(pair.rank == 0 || (pair.a != nullptr && pair.b != nullptr));
  CHECK(task.y_panel_begin >= 0 && task.y_panel_step >= 1);
  CHECK_LT(task.y_panel_begin + (NumPanels(pair.n) - 1) * task.y_panel_step, YPanels(args));
}

void CheckOwn(const OwnWeight& own, const LinearArgs& args) {
  CHECK(0 <= own.row_begin && own.row_begin < own.row_end && own.row_end <= args.rows);
  CHECK(own.weight.data != nullptr && own.weight.num_panels >= 1);
  CHECK(own.weight.dtype == args.weight.dtype && own.weight.k == args.weight.k);
  CHECK(own.y_panel_begin >= 0 && own.y_panel_step >= 1);
  CHECK_LT(own.y_panel_begin + (own.weight.num_panels - 1) * own.y_panel_step, YPanels(args));
}

void CheckArgs(const LinearArgs& args) {
  const PackedMatrix& weight = args.weight;
  CHECK_GE(args.rows, 0);
  CHECK(weight.data != nullptr && weight.k >= 1 && weight.num_panels >= 1);
  CHECK(weight.dtype == DType::kBF16 || weight.dtype == DType::kF32);
  CHECK_GE(args.x_stride, weight.k);
  CHECK_GE(args.y_panel_step, 1);
  CHECK_GE(args.y_stride, ((weight.num_panels - 1) * args.y_panel_step + 1) * kPanel);
  CHECK_GE(args.y_stride, args.y_num_panels * kPanel);
  CHECK(args.lora.empty() || args.lora_scratch != nullptr);
  CHECK_EQ(reinterpret_cast<uintptr_t>(args.lora_scratch) % kAlign, 0u);
  for (const OwnWeight& own : args.own) CheckOwn(own, args);
  for (const LoraTask& task : args.lora) CheckTask(task, args);
}

// Fills the plan in the scratch; returns the number of shrink items.
int PlanShrink(const LinearArgs& args, TaskPlan* plan) {
  size_t offset = RoundUp(args.lora.size() * sizeof(TaskPlan));
  int items = 0;
  for (size_t i = 0; i < args.lora.size(); ++i) {
    const LoraTask& task = args.lora[i];
    items += ShrinkGrid(task, args.weight.k).num_items;
    plan[i] = {offset, items, 0};
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
  if (pair.rank == 0) return;
  const auto* b =
      static_cast<const std::byte*>(pair.b) +
      PairPanels(args.lora[task_idx], panels).begin * PanelBytes(pair.rank, args.weight.dtype);
  constexpr int kBytes = 4096;
  for (int byte = 0; byte < kBytes; byte += kAlign) __builtin_prefetch(b + byte);
}

// Tasks that share rows, which must be added in their order. Groups share no rows, so they run side
// by side, and a group of few rows reads its B matrices in long runs.
struct ExpandGroup {
  Range tasks;
  Range rows;  // that they cover
};

// The group that begins with task `begin`. Tasks in ascending order of rows form many groups, any
// other order only one.
ExpandGroup GroupFrom(std::span<const LoraTask> tasks, int begin, bool ascending) {
  ExpandGroup group{{begin, begin}, {tasks[begin].row_begin, tasks[begin].row_end}};
  for (const LoraTask& task : tasks.subspan(begin)) {
    if (ascending && task.row_begin >= group.rows.end) break;
    group.rows.begin = std::min(group.rows.begin, task.row_begin);
    group.rows.end = std::max(group.rows.end, task.row_end);
    ++group.tasks.end;
  }
  return group;
}

bool RowsAscend(std::span<const LoraTask> tasks) {
  return std::is_sorted(tasks.begin(), tasks.end(), [](const LoraTask& a, const LoraTask& b) {
    return a.row_begin < b.row_begin;
  });
}

// How y [rows of a group, all panels] is cut.
struct ExpandGrid {
  static constexpr int kRows = 64;
  int panels_per_item = 0;
  int panel_items = 0;
  int num_items = 0;

  // At least four items a thread over all groups, so that the end evens out. A prompt's rows are
  // always cut by columns: the part of B that they share stays in the nearest cache.
  ExpandGrid(const LinearArgs& args, Range rows, int num_groups, int num_threads) {
    constexpr int kTilePanels = 3;
    constexpr int kDecodeRows = 16;
    const int wanted = 4 * num_threads;
    const int cuts = rows.end - rows.begin > kDecodeRows ? wanted : CeilDiv(wanted, num_groups);
    panels_per_item = CeilDiv(CeilDiv(YPanels(args), cuts), kTilePanels) * kTilePanels;
    panel_items = CeilDiv(YPanels(args), panels_per_item);
    num_items = CeilDiv(rows.end - rows.begin, kRows) * panel_items;
  }
};

// The expansion of a product's tasks as items.
class Expansion {
 public:
  Expansion(const LinearArgs& args, int num_threads, TaskPlan* plan)
      : args_(args), num_threads_(num_threads), plan_(plan), ascending_(RowsAscend(args.lora)) {
    const int num_tasks = static_cast<int>(args.lora.size());
    for (int begin = 0; begin < num_tasks; begin = Group(begin).tasks.end) ++num_groups_;
    for (int begin = 0; begin < num_tasks;) {
      const ExpandGroup group = Group(begin);
      num_items_ += ExpandGrid(args, group.rows, num_groups_, num_threads).num_items;
      for (; begin < group.tasks.end; ++begin) plan[begin].expand_items = num_items_;
    }
  }

  int num_items() const { return num_items_; }

  // Adds a group's part of one block of y, in the order of the tasks.
  void Run(const KernelTable& table, int item) const {
    const auto* found = std::upper_bound(
        plan_, plan_ + args_.lora.size(), item,
        [](int value, const TaskPlan& entry) { return value < entry.expand_items; });
    const ExpandGroup group = Group(static_cast<int>(found - plan_));
    const ExpandGrid grid(args_, group.rows, num_groups_, num_threads_);
    const int item_in_group = found == plan_ ? item : item - found[-1].expand_items;
    const int row = group.rows.begin + item_in_group / grid.panel_items * ExpandGrid::kRows;
    const int panel = item_in_group % grid.panel_items * grid.panels_per_item;
    const Range panels{panel, std::min(YPanels(args_), panel + grid.panels_per_item)};
    for (int i = group.tasks.begin; i < group.tasks.end; ++i) {
      const LoraTask& task = args_.lora[i];
      const int row_begin = std::max(row, task.row_begin);
      const int row_end = std::min(row + ExpandGrid::kRows, task.row_end);
      const auto [begin, end] = PairPanels(task, panels);
      if (row_begin >= row_end || begin >= end) continue;
      PrefetchTask(args_, i + 1, panels);
      if (task.pair.rank > 0) {
        table.expand(args_, task, {row_begin, row_end}, {begin, end},
                     static_cast<const std::byte*>(args_.lora_scratch) + plan_[i].shrunk_offset);
      }
      if (task.y_scale != nullptr || task.y_offset != nullptr) {
        table.scale_and_shift(args_, task, {row_begin, row_end}, {begin, end});
      }
    }
  }

 private:
  ExpandGroup Group(int begin) const { return GroupFrom(args_.lora, begin, ascending_); }

  const LinearArgs& args_;
  int num_threads_;
  TaskPlan* plan_;
  bool ascending_;
  int num_groups_ = 0;
  int num_items_ = 0;
};

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

// The base product reads each panel once per block of rows. A thread's items follow each other: few
// rows, which kernels take panel by panel, lose nothing by small ones, and these even out the end.
// More rows are taken in register tiles of up to three panels.
Blocks ProductBlocks(const LinearArgs& args) {
  constexpr int kRows = 256;
  constexpr int kFewRows = 12;
  constexpr size_t kStreamBytes = 32 * 1024, kTilesBytes = 64 * 1024;
  const bool is_stream = args.rows <= kFewRows;
  const int tile_panels = is_stream ? 1 : 3;
  const size_t tile_bytes = tile_panels * PanelBytes(args.weight.k, args.weight.dtype);
  const size_t item_bytes = is_stream ? kStreamBytes : kTilesBytes;
  return Blocks(args, kRows,
                tile_panels * static_cast<int>((item_bytes + tile_bytes - 1) / tile_bytes));
}

// Two kinds of work in one region: every thread's share of the items (see Stream) is its part of
// the first kind and then its part of the second.
struct TwoKinds {
  int num_threads;
  int first, second;                // items of each kind
  int first_places, second_places;  // of them in a share; some stay empty

  TwoKinds(int first, int second, int num_threads)
      : num_threads(num_threads),
        first(first),
        second(second),
        first_places(CeilDiv(first, num_threads)),
        second_places(CeilDiv(second, num_threads)) {}

  int num_items() const { return num_threads * (first_places + second_places); }

  template <typename RunFirst, typename RunSecond>
  void Run(int item, const RunFirst& run_first, const RunSecond& run_second) const {
    const int places = first_places + second_places;
    const int thread = item / places, place = item % places;
    const auto part = [&](int count, int index, const auto& run) {
      const int begin = PartBegin(count, thread);
      if (begin + index < PartBegin(count, thread + 1)) run(begin + index);
    };
    if (place < first_places) {
      part(first, place, run_first);
    } else {
      part(second, place - first_places, run_second);
    }
  }

 private:
  int PartBegin(int count, int thread) const {
    return static_cast<int>(int64_t{count} * thread / num_threads);
  }
};

// The product of one adapter's rows with a weight of its own.
LinearArgs OwnProduct(const LinearArgs& args, const OwnWeight& own) {
  LinearArgs product = args;
  product.x = static_cast<const std::byte*>(args.x) +
              static_cast<ptrdiff_t>(own.row_begin) * args.x_stride *
                  static_cast<ptrdiff_t>(DTypeBytes(args.weight.dtype));
  product.rows = own.row_end - own.row_begin;
  product.weight = own.weight;
  product.bias = nullptr;
  product.y = args.y + static_cast<ptrdiff_t>(own.row_begin) * args.y_stride +
              static_cast<ptrdiff_t>(own.y_panel_begin) * kPanel;
  product.y_panel_step = own.y_panel_step;
  return product;
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
  // Both read x only.
  const TwoKinds items(product.num_items, PlanShrink(args, plan), stream.num_threads());
  stream.ParallelFor(items.num_items(), [&](int item, int) {
    items.Run(
        item, [&](int i) { table.product(args, product.Rows(args, i), product.Panels(args, i)); },
        [&](int i) { ShrinkItem(table, args, plan, i); });
  });
  // Over the base's outputs of the same rows, hence after them.
  for (const OwnWeight& own : args.own) {
    const LinearArgs own_args = OwnProduct(args, own);
    const Blocks blocks = ProductBlocks(own_args);
    stream.ParallelFor(blocks.num_items, [&](int item, int) {
      table.product(own_args, blocks.Rows(own_args, item), blocks.Panels(own_args, item));
    });
  }
  if (args.lora.empty()) return;
  const Expansion expansion(args, stream.num_threads(), plan);
  stream.ParallelFor(expansion.num_items(), [&](int item, int) { expansion.Run(table, item); });
}

}  // namespace lorry::kernels
