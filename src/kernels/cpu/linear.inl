// Linear's kernels: register tiles of rows x panels. Compiled per instruction set, after
// cpu/lanes.h.
//
// Every output is one chain over k in ascending order. A chain may pause at a multiple of kPack:
// its f32 sum is stored to y and loaded again, which changes no bit.
#include <utility>

#include "kernels/table.h"

namespace lorry::kernels {
namespace {

// Register tiles: rows x panels accumulators, and beside them the panels' lines and one broadcast.
constexpr int kTileRows = kParts == 1 ? 8 : kParts == 2 ? 4 : 2;
constexpr int kTilePanels = kParts == 1 ? 3 : 1;
// The rows of a decode step are one tile over one panel at a time, so that the weights are one
// stream: panels side by side are several, which memory delivers at 0.8 of the rate
// (docs/decisions/0009).
constexpr int kStreamRows = kParts == 1 ? 12 : kTileRows;

// What a tile prefetches while it reads line i of its panels: the line at begin + i * step bytes
// beyond the panel's first.
struct Ahead {
  ptrdiff_t begin_bytes = 0;
  ptrdiff_t step_bytes = 0;
};

template <typename T>
struct TileArgs {
  const T* x;  // [tile rows, k]
  ptrdiff_t x_stride;
  const T* lines[kTilePanels];  // of each panel: [k / kPack][16][kPack]
  int k;
  Ahead ahead;           // for the elements of k before ahead_switch,
  int ahead_switch = 0;  // a multiple of kPack,
  Ahead ahead_late;      // and from there on
  float* y;              // [tile rows, ...] f32
  ptrdiff_t y_stride;
  ptrdiff_t y_panel_stride;  // from one panel of the tile to the next
  bool y_is_far = true;      // not in this core's cache
  enum Begin { kFromZero, kFromY } begin;
  enum End { kStore, kAddBias, kAddToY } end;
  const float* bias;  // [tile panels * 16], of kAddBias
};

// function(r, p) for each register of a tile, without a loop.
template <int kRows, int kPanels, typename Function>
LORRY_LANES void Unrolled(const Function& function) {
  [&]<int... i>(std::integer_sequence<int, i...>) {
    (function(i / kPanels, i % kPanels), ...);
  }(std::make_integer_sequence<int, kRows * kPanels>());
}

template <typename T, int kRows, int kPanels>
void ProductTile(const TileArgs<T>& args) {
  using A = Act<T>;
  F32x16 sums[kRows][kPanels];
  // The sums' places may lie in another core's cache, and a thread waits for its stores before it
  // claims or ends anything.
  if (args.y_is_far) {
    Unrolled<kRows, kPanels>([&](int r, int p) {
      constexpr int kWrite = 1;
      __builtin_prefetch(args.y + r * args.y_stride + p * args.y_panel_stride, kWrite);
    });
  }
  // Written out by Unrolled, so that the sums stay in registers on both sides of the loop.
  const auto y = [&](int r, int p) { return args.y + r * args.y_stride + p * args.y_panel_stride; };
  if (args.begin == TileArgs<T>::kFromZero) {
    Unrolled<kRows, kPanels>([&](int r, int p) { sums[r][p] = Fill(0); });
  } else {
    Unrolled<kRows, kPanels>([&](int r, int p) { sums[r][p] = Load(y(r, p)); });
  }
  const T* x[kRows];
  for (int r = 0; r < kRows; ++r) x[r] = args.x + r * args.x_stride;
  const T* lines[kPanels];
  for (int p = 0; p < kPanels; ++p) lines[p] = args.lines[p];

  const auto add_line = [&](int k_idx, auto splat) {
    typename A::Line line[kPanels];
    for (int p = 0; p < kPanels; ++p) {
      line[p] = A::LoadLine(lines[p] + static_cast<ptrdiff_t>(k_idx) * kLanes);
    }
    for (int r = 0; r < kRows; ++r) {
      const typename A::Line element = splat(x[r] + k_idx);
      for (int p = 0; p < kPanels; ++p) sums[r][p] = A::Dot(sums[r][p], line[p], element);
    }
  };
  const auto add_lines = [&](int begin, int end, Ahead ahead) {
    for (int k_idx = begin; k_idx < end; k_idx += A::kPack, ahead.begin_bytes += ahead.step_bytes) {
      for (int p = 0; p < kPanels; ++p) {
        __builtin_prefetch(reinterpret_cast<const char*>(lines[p]) + ahead.begin_bytes);
      }
      add_line(k_idx, [](const T* from) { return A::Splat(from); });
    }
  };
  const int whole = args.k / A::kPack * A::kPack;
  add_lines(0, args.ahead_switch, args.ahead);
  add_lines(args.ahead_switch, whole, args.ahead_late);
  if (whole < args.k) add_line(whole, [](const T* from) { return A::SplatLast(from); });

  if (args.end == TileArgs<T>::kAddBias) {
    Unrolled<kRows, kPanels>(
        [&](int r, int p) { Store(y(r, p), sums[r][p] + Load(args.bias + p * kPanel)); });
  } else if (args.end == TileArgs<T>::kAddToY) {
    Unrolled<kRows, kPanels>([&](int r, int p) { Store(y(r, p), Load(y(r, p)) + sums[r][p]); });
  } else {
    Unrolled<kRows, kPanels>([&](int r, int p) { Store(y(r, p), sums[r][p]); });
  }
}

template <typename T, int kRows, int kPanels>
void DispatchTile(int rows, int panels, const TileArgs<T>& args) {
  if constexpr (kPanels > 1) {
    if (panels < kPanels) return DispatchTile<T, kRows, kPanels - 1>(rows, panels, args);
  }
  if constexpr (kRows > 1) {
    if (rows < kRows) return DispatchTile<T, kRows - 1, kPanels>(rows, panels, args);
  }
  ProductTile<T, kRows, kPanels>(args);
}

// `rows` in tiles of nearly equal height: nine rows are five and four, not eight and one.
struct RowTiles {
  Range rows;
  int count;

  explicit RowTiles(Range rows)
      : rows(rows), count((rows.end - rows.begin + kTileRows - 1) / kTileRows) {}
  Range operator[](int tile) const {
    const int num_rows = rows.end - rows.begin;
    return {rows.begin + num_rows * tile / count, rows.begin + num_rows * (tile + 1) / count};
  }
};

// The base product of some panels.
//
// Few rows read every line once and the time is the memory's: the panels, which follow each other
// without a gap, are one stream, prefetched kAheadLines ahead. Of more rows, in tiles over
// kTilePanels panels, the lines of a block of k are read once per tile: while the tiles work on a
// block they share the prefetching of the next one.
template <typename T>
class BaseProduct {
 public:
  BaseProduct(const LinearArgs& args, Range rows, Range panels)
      : args_(args),
        rows_(rows),
        tiles_(rows),
        panels_(panels),
        panel_bytes_(static_cast<ptrdiff_t>((args.weight.k + A::kPack - 1) / A::kPack) *
                     kLineBytes) {}

  void Run() const {
    if (rows_.end - rows_.begin <= kStreamRows) return RunStream();
    const int k = args_.weight.k;
    const int k_block = tiles_.count <= kFewTiles ? kFewTilesBlock : kManyTilesBlock;
    for (int panel = panels_.begin; panel < panels_.end; panel += kTilePanels) {
      for (int k_begin = 0; k_begin < k; k_begin += k_block) {
        Block(panel, k_begin, k - k_begin < k_block ? k - k_begin : k_block);
      }
    }
  }

 private:
  using A = Act<T>;
  using Tile = TileArgs<T>;
  static constexpr ptrdiff_t kLineBytes = kLanes * A::kPack * sizeof(T);
  // 8 kB, what 40 GB/s deliver in a loaded memory's latency.
  static constexpr int kAheadLines = 128;
  // Lines of a block of k, per panel: 24 kB with few tiles, so that a block is soon followed by the
  // next one's prefetched lines; 96 kB with many, where what counts is how seldom sums are stored
  // and loaded again.
  static constexpr int kFewTiles = 4;
  static constexpr int kFewTilesBlock = 128 * A::kPack;
  static constexpr int kManyTilesBlock = 512 * A::kPack;

  void RunStream() const {
    for (int panel = panels_.begin; panel < panels_.end; ++panel) {
      Tile tile = TileOf({panel, panel + 1}, 0, args_.weight.k);
      // Beyond the last panel too: what follows is likely this thread's next item.
      tile.ahead = {kAheadLines * kLineBytes, kLineBytes};
      tile.ahead_switch = args_.weight.k / A::kPack * A::kPack;
      SetRows(rows_, panel, 0, tile);
      DispatchTile<T, kStreamRows, 1>(rows_.end - rows_.begin, 1, tile);
    }
  }

  void Block(int panel, int k_begin, int k_size) const {
    const Range panels{panel,
                       panels_.end - panel < kTilePanels ? panels_.end : panel + kTilePanels};
    Tile tile = TileOf(panels, k_begin, k_size);
    for (int i = 0; i < tiles_.count; ++i) {
      SetAhead(k_begin, i, tile);
      SetRows(tiles_[i], panel, k_begin, tile);
      DispatchTile<T, kTileRows, kTilePanels>(tiles_[i].end - tiles_[i].begin, panels.end - panel,
                                              tile);
    }
  }

  // A tile of some panels and of k_size elements of k, still without its rows.
  Tile TileOf(Range panels, int k_begin, int k_size) const {
    Tile tile;
    tile.k = k_size;
    const std::byte* weight =
        static_cast<const std::byte*>(args_.weight.data) + k_begin / A::kPack * kLineBytes;
    for (int panel = panels.begin; panel < panels.end; ++panel) {
      tile.lines[panel - panels.begin] = reinterpret_cast<const T*>(weight + panel * panel_bytes_);
    }
    tile.x_stride = args_.x_stride;
    tile.y_stride = args_.y_stride;
    tile.y_panel_stride = static_cast<ptrdiff_t>(args_.y_panel_step) * kPanel;
    tile.begin = k_begin == 0 ? Tile::kFromZero : Tile::kFromY;
    const bool last = k_begin + k_size == args_.weight.k;
    tile.end = last && args_.bias != nullptr ? Tile::kAddBias : Tile::kStore;
    tile.bias = args_.bias == nullptr ? nullptr : args_.bias + panels.begin * kPanel;
    return tile;
  }

  void SetRows(Range rows, int panel, int k_begin, Tile& tile) const {
    tile.x = static_cast<const T*>(args_.x) + static_cast<ptrdiff_t>(rows.begin) * args_.x_stride +
             k_begin;
    tile.y =
        args_.y + static_cast<ptrdiff_t>(rows.begin) * args_.y_stride + panel * tile.y_panel_stride;
  }

  void SetAhead(int k_begin, int tile_idx, Tile& tile) const {
    const int num_lines = tile.k / A::kPack;
    // From a panel's line to the same one in the next panels. After the last ones too: what follows
    // is likely this thread's next item.
    const ptrdiff_t next_panels = kTilePanels * panel_bytes_;
    const bool last_block = k_begin + tile.k == args_.weight.k;
    const ptrdiff_t next_block =
        last_block ? next_panels - k_begin / A::kPack * kLineBytes : num_lines * kLineBytes;
    tile.ahead_switch = 0;
    tile.ahead_late = {next_block + num_lines * tile_idx / tiles_.count * kLineBytes,
                       kLineBytes / tiles_.count};
  }

  const LinearArgs& args_;
  Range rows_;
  RowTiles tiles_;
  Range panels_;
  ptrdiff_t panel_bytes_;
};

// B's panels follow each other without a gap, a few lines each: one stream.
constexpr ptrdiff_t kExpandAheadBytes = 4096;

template <typename T>
void ExpandOf(const LinearArgs& args, const LoraTask& task, Range rows, Range panels,
              const T* shrunk) {
  using Tile = TileArgs<T>;
  const int stride = ShrunkStride(task.pair.rank);
  const int k = Act<T>::kPack == 2 ? stride : task.pair.rank;  // the padding of s and of B is zero
  const RowTiles tiles(rows);
  for (int panel = panels.begin; panel < panels.end; panel += kTilePanels) {
    const int num_panels = panels.end - panel < kTilePanels ? panels.end - panel : kTilePanels;
    Tile tile;
    tile.k = k;
    for (int p = 0; p < num_panels; ++p) {
      tile.lines[p] =
          static_cast<const T*>(task.pair.b) + static_cast<ptrdiff_t>(panel + p) * k * kPanel;
    }
    tile.x_stride = stride;
    tile.y_stride = args.y_stride;
    tile.y_panel_stride = static_cast<ptrdiff_t>(task.y_panel_step) * kPanel;
    tile.ahead_switch = 0;
    tile.ahead_late = {kExpandAheadBytes, kLanes * Act<T>::kPack * static_cast<int>(sizeof(T))};
    tile.begin = Tile::kFromZero;
    tile.end = Tile::kAddToY;
    for (int i = 0; i < tiles.count; ++i) {
      const Range tile_rows = tiles[i];
      tile.x = shrunk + static_cast<ptrdiff_t>(tile_rows.begin - task.row_begin) * stride;
      tile.y = args.y + static_cast<ptrdiff_t>(tile_rows.begin) * args.y_stride +
               (task.y_panel_begin + panel * task.y_panel_step) * kPanel;
      DispatchTile<T, kTileRows, kTilePanels>(tile_rows.end - tile_rows.begin, num_panels, tile);
    }
  }
}

// Dot products of kRows rows of x with kRanks rows of A, both along k: 16 x kPack elements at a
// time in one chain per product, then across the lanes.
template <typename T, int kRows, int kRanks>
void ShrinkTile(const T* x, ptrdiff_t x_stride, const T* a, int k, float scale, T* shrunk,
                ptrdiff_t shrunk_stride) {
  using A = Act<T>;
  constexpr int kLine = kLanes * A::kPack;
  F32x16 sums[kRows][kRanks];
  for (auto& row : sums) {
    for (auto& sum : row) sum = Fill(0);
  }
  const auto add_line = [&](int k_idx, auto load) {
    typename A::Line x_line[kRows];
    for (int r = 0; r < kRows; ++r) x_line[r] = load(x + r * x_stride + k_idx);
    for (int q = 0; q < kRanks; ++q) {
      __builtin_prefetch(a + static_cast<ptrdiff_t>(q + kRanks) * k + k_idx);
      const typename A::Line a_line = load(a + static_cast<ptrdiff_t>(q) * k + k_idx);
      for (int r = 0; r < kRows; ++r) sums[r][q] = A::Dot(sums[r][q], a_line, x_line[r]);
    }
  };
  const int whole = k / kLine * kLine;
  for (int k_idx = 0; k_idx < whole; k_idx += kLine) {
    add_line(k_idx, [](const T* from) { return A::LoadLine(from); });
  }
  const int rest = k - whole;
  if (rest > 0) add_line(whole, [rest](const T* from) { return A::LoadLine(from, rest); });
  for (int r = 0; r < kRows; ++r) {
    for (int q = 0; q < kRanks; ++q) {
      A::StoreLanes(shrunk + r * shrunk_stride + q, Fill(ReduceAdd(sums[r][q]) * scale), 1);
    }
  }
}

template <typename T, int kRows, int kRanks>
void ShrinkBlock(const LinearArgs& args, const LoraTask& task, Range rows, Range ranks, T* shrunk) {
  const int k = args.weight.k;
  const int stride = ShrunkStride(task.pair.rank);
  for (int rank = ranks.begin; rank < ranks.end;) {
    const bool whole = ranks.end - rank >= kRanks;
    const auto tile = whole ? ShrinkTile<T, kRows, kRanks> : ShrinkTile<T, kRows, 1>;
    const T* a = static_cast<const T*>(task.pair.a) + static_cast<ptrdiff_t>(rank) * k;
    for (int row = rows.begin; row < rows.end; row += kRows) {
      tile(static_cast<const T*>(args.x) + static_cast<ptrdiff_t>(row) * args.x_stride,
           args.x_stride, a, k, task.pair.scale,
           shrunk + static_cast<ptrdiff_t>(row - task.row_begin) * stride + rank, stride);
    }
    rank += whole ? kRanks : 1;
  }
}

template <typename T>
void ShrinkOf(const LinearArgs& args, const LoraTask& task, Range rows, Range ranks, T* shrunk) {
  // Square tiles where there are rows enough. A single row reads A at the memory's rate: four ranks
  // at a time keep it nearly one stream.
  constexpr int kSide = kParts == 1 ? 4 : 2;
  const int tiled_end = rows.begin + (rows.end - rows.begin) / kSide * kSide;
  ShrinkBlock<T, kSide, kSide>(args, task, {rows.begin, tiled_end}, ranks, shrunk);
  ShrinkBlock<T, 1, 4>(args, task, {tiled_end, rows.end}, ranks, shrunk);
  if (ranks.end < task.pair.rank || task.pair.rank % 2 == 0) return;
  const float zero = 0;
  for (int row = rows.begin; row < rows.end; ++row) {
    T* padding = shrunk +
                 static_cast<ptrdiff_t>(row - task.row_begin) * ShrunkStride(task.pair.rank) +
                 task.pair.rank;
    Act<T>::StoreLanes(padding, Fill(zero), 1);
  }
}

void ScaleAndShift(const LinearArgs& args, const LoraTask& task, Range rows, Range panels) {
  for (int row = rows.begin; row < rows.end; ++row) {
    float* y_row = args.y + static_cast<ptrdiff_t>(row) * args.y_stride;
    for (int panel = panels.begin; panel < panels.end; ++panel) {
      float* y = y_row + (task.y_panel_begin + panel * task.y_panel_step) * kPanel;
      F32x16 value = Load(y);
      if (task.y_scale != nullptr) value = value * Load(task.y_scale + panel * kPanel);
      if (task.y_offset != nullptr) {
        value = value + Fill(task.offset_weight) * Load(task.y_offset + panel * kPanel);
      }
      Store(y, value);
    }
  }
}

void Product(const LinearArgs& args, Range rows, Range panels) {
  if (args.weight.dtype == DType::kBF16) return BaseProduct<BFloat16>(args, rows, panels).Run();
  BaseProduct<float>(args, rows, panels).Run();
}

void Shrink(const LinearArgs& args, const LoraTask& task, Range rows, Range ranks, void* shrunk) {
  if (args.weight.dtype == DType::kBF16)
    return ShrinkOf(args, task, rows, ranks, static_cast<BFloat16*>(shrunk));
  ShrinkOf(args, task, rows, ranks, static_cast<float*>(shrunk));
}

void Expand(const LinearArgs& args, const LoraTask& task, Range rows, Range panels,
            const void* shrunk) {
  if (args.weight.dtype == DType::kBF16) {
    return ExpandOf(args, task, rows, panels, static_cast<const BFloat16*>(shrunk));
  }
  ExpandOf(args, task, rows, panels, static_cast<const float*>(shrunk));
}

}  // namespace
}  // namespace lorry::kernels
