// Linear's kernels: register tiles of rows x panels. Compiled per instruction set, after
// cpu/lanes.h.
//
// Every output is one chain over k in ascending order. A chain may pause at a multiple of kPack:
// its f32 sum is stored to y and loaded again, which changes no bit.
#include "kernels/table.h"

namespace lorry::kernels {
namespace {

// Register tiles: rows x panels accumulators, and beside them the panels' lines and one broadcast.
constexpr int kTileRows = kParts == 1 ? 8 : kParts == 2 ? 4 : 2;
constexpr int kTilePanels = kParts == 1 ? 3 : 1;

template <typename T>
struct TileArgs {
  const T* x;  // [tile rows, k]
  ptrdiff_t x_stride;
  const T* lines[kTilePanels];  // of each panel: [k / kPack][16][kPack]
  int k;
  float* y;  // [tile rows, ...] f32
  ptrdiff_t y_stride;
  ptrdiff_t y_panel_stride;  // from one panel of the tile to the next
  enum Begin { kFromZero, kFromY } begin;
  enum End { kStore, kAddBias, kAddToY } end;
  const float* bias;  // [tile panels * 16], of kAddBias
};

template <typename T, int kRows, int kPanels>
void ProductTile(const TileArgs<T>& args) {
  using A = Act<T>;
  constexpr int kLine = kLanes * A::kPack;
  F32x16 sums[kRows][kPanels];
  for (int r = 0; r < kRows; ++r) {
    for (int p = 0; p < kPanels; ++p) {
      sums[r][p] = args.begin == TileArgs<T>::kFromZero
                       ? Fill(0)
                       : Load(args.y + r * args.y_stride + p * args.y_panel_stride);
    }
  }
  const T* x[kRows];
  for (int r = 0; r < kRows; ++r) x[r] = args.x + r * args.x_stride;
  const T* lines[kPanels];
  for (int p = 0; p < kPanels; ++p) lines[p] = args.lines[p];

  const auto add_line = [&](int k_idx, auto splat) {
    typename A::Line line[kPanels];
    for (int p = 0; p < kPanels; ++p)
      line[p] = A::LoadLine(lines[p] + static_cast<ptrdiff_t>(k_idx) * kLanes);
    for (int r = 0; r < kRows; ++r) {
      const typename A::Line element = splat(x[r] + k_idx);
      for (int p = 0; p < kPanels; ++p) sums[r][p] = A::Dot(sums[r][p], line[p], element);
    }
  };
  static_assert(kLine == kLanes * A::kPack);
  const int whole = args.k / A::kPack * A::kPack;
  for (int k_idx = 0; k_idx < whole; k_idx += A::kPack) {
    add_line(k_idx, [](const T* from) { return A::Splat(from); });
  }
  if (whole < args.k) add_line(whole, [](const T* from) { return A::SplatLast(from); });

  for (int r = 0; r < kRows; ++r) {
    for (int p = 0; p < kPanels; ++p) {
      float* y = args.y + r * args.y_stride + p * args.y_panel_stride;
      F32x16 sum = sums[r][p];
      if (args.end == TileArgs<T>::kAddBias) sum = sum + Load(args.bias + p * kPanel);
      if (args.end == TileArgs<T>::kAddToY) sum = Load(y) + sum;
      Store(y, sum);
    }
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

// Calls visit(row, num_rows) for tiles of nearly equal height: nine rows are five and four, not
// eight and one.
template <typename Visit>
LORRY_LANES void ForRowTiles(Range rows, const Visit& visit) {
  const int num_rows = rows.end - rows.begin;
  const int num_tiles = (num_rows + kTileRows - 1) / kTileRows;
  for (int tile = 0; tile < num_tiles; ++tile) {
    const int begin = num_rows * tile / num_tiles;
    const int end = num_rows * (tile + 1) / num_tiles;
    visit(rows.begin + begin, end - begin);
  }
}

template <typename T>
void ProductOf(const LinearArgs& args, Range rows, Range panels) {
  using Tile = TileArgs<T>;
  const int k = args.weight.k;
  const ptrdiff_t panel_elements =
      static_cast<ptrdiff_t>((k + Act<T>::kPack - 1) / Act<T>::kPack) * Act<T>::kPack * kPanel;
  // With several row tiles the panels' lines are used again at once: blocks of k that stay in the
  // second-level cache, and with many tiles in the first.
  const int num_rows = rows.end - rows.begin;
  const int k_block = num_rows <= kTileRows ? k : num_rows <= 4 * kTileRows ? 2048 : 512;
  for (int panel = panels.begin; panel < panels.end; panel += kTilePanels) {
    const int num_panels = panels.end - panel < kTilePanels ? panels.end - panel : kTilePanels;
    for (int k_begin = 0; k_begin < k; k_begin += k_block) {
      Tile tile;
      tile.k = k - k_begin < k_block ? k - k_begin : k_block;
      for (int p = 0; p < num_panels; ++p) {
        tile.lines[p] = static_cast<const T*>(args.weight.data) + (panel + p) * panel_elements +
                        static_cast<ptrdiff_t>(k_begin) * kPanel;
      }
      tile.x_stride = args.x_stride;
      tile.y_stride = args.y_stride;
      tile.y_panel_stride = kPanel;
      tile.begin = k_begin == 0 ? Tile::kFromZero : Tile::kFromY;
      tile.end = k_begin + tile.k < k || args.bias == nullptr ? Tile::kStore : Tile::kAddBias;
      tile.bias = args.bias + panel * kPanel;
      ForRowTiles(rows, [&](int row, int tile_rows) {
        tile.x =
            static_cast<const T*>(args.x) + static_cast<ptrdiff_t>(row) * args.x_stride + k_begin;
        tile.y = args.y + static_cast<ptrdiff_t>(row) * args.y_stride + panel * kPanel;
        DispatchTile<T, kTileRows, kTilePanels>(tile_rows, num_panels, tile);
      });
    }
  }
}

template <typename T>
void ExpandOf(const LinearArgs& args, const LoraTask& task, Range rows, Range panels,
              const T* shrunk) {
  using Tile = TileArgs<T>;
  const int stride = ShrunkStride(task.pair.rank);
  const int k = Act<T>::kPack == 2 ? stride : task.pair.rank;  // the padding of s and of B is zero
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
    tile.begin = Tile::kFromZero;
    tile.end = Tile::kAddToY;
    ForRowTiles(rows, [&](int row, int tile_rows) {
      tile.x = shrunk + static_cast<ptrdiff_t>(row - task.row_begin) * stride;
      tile.y = args.y + static_cast<ptrdiff_t>(row) * args.y_stride +
               (task.y_panel_begin + panel * task.y_panel_step) * kPanel;
      DispatchTile<T, kTileRows, kTilePanels>(tile_rows, num_panels, tile);
    });
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
  // Tiles of 16 accumulators (of 4 where a lane vector takes several registers).
  constexpr int kSide = kParts == 1 ? 4 : 2;
  const int tiled_end = rows.begin + (rows.end - rows.begin) / kSide * kSide;
  ShrinkBlock<T, kSide, kSide>(args, task, {rows.begin, tiled_end}, ranks, shrunk);
  ShrinkBlock<T, 1, kSide * kSide>(args, task, {tiled_end, rows.end}, ranks, shrunk);
  if (ranks.end < task.pair.rank || task.pair.rank % 2 == 0) return;
  const float zero = 0;
  for (int row = rows.begin; row < rows.end; ++row) {
    T* padding = shrunk +
                 static_cast<ptrdiff_t>(row - task.row_begin) * ShrunkStride(task.pair.rank) +
                 task.pair.rank;
    Act<T>::StoreLanes(padding, Fill(zero), 1);
  }
}

void Product(const LinearArgs& args, Range rows, Range panels) {
  if (args.weight.dtype == DType::kBF16) return ProductOf<BFloat16>(args, rows, panels);
  ProductOf<float>(args, rows, panels);
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
