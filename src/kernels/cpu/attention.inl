// Paged attention: tiles of query vectors against blocks of the KV cache. Compiled per instruction
// set, after cpu/lanes.h and cpu/linear.inl.
//
// A query vector is one head of one row; the heads that share a KV head lie together, rows
// ascending, so a tile reads each block of K and V once for all of them. The softmax goes online
// over spans of kSpanTokens tokens from position 0. Which blocks of 16 tokens a vector takes part
// in depends on its position alone: up to the one that holds it, where later tokens get probability
// zero (and V is finite there: see LastOfFreshBlock). So its bits do not depend on its tile.
#include <limits>

#include "kernels/table.h"

namespace lorry::kernels {
namespace {

constexpr int kSpanBlocks = 4;
constexpr int kSpanTokens = kSpanBlocks * kKvBlockTokens;
constexpr int kTileVectors = kTileRows;

template <typename T>
struct AttentionTile {
  const AttentionArgs& args;
  const SequenceRows& sequence;
  int kv_head;
  int num_vectors;
  int position[kTileVectors];      // ascending
  T* out[kTileVectors];            // [head_dim]
  T q[kTileVectors][kMaxHeadDim];  // [num_vectors, head_dim], row stride kMaxHeadDim
  float max[kTileVectors];         // of the scaled scores so far
  float sum[kTileVectors];         // of exp(score - max)
  float rescale[kTileVectors];     // what this span's new maximum does to earlier sums
  float scores[kTileVectors][kSpanTokens];
  T weights[kTileVectors][kSpanTokens];   // exp(score - max), rounded to act
  float sums[kTileVectors][kMaxHeadDim];  // [num_vectors, head_dim] weighted V
  bool reads_first;  // nobody has read this K and V just before: prefetch the next span
  const T* k_blocks[kSpanBlocks];
  const T* v_blocks[kSpanBlocks];
  ptrdiff_t ahead_bytes[kSpanBlocks];  // from these blocks to what is read after them

  // Leaves the arrays as they are: 30 kB that a short context would pay for.
  AttentionTile(const AttentionArgs& args, const SequenceRows& sequence, int kv_head)
      : args(args), sequence(sequence), kv_head(kv_head) {}

  // Blocks of the span at `begin` that vector i takes part in.
  int NumBlocks(int i, int begin) const {
    if (position[i] < begin) return 0;
    const int blocks = (position[i] - begin) / kKvBlockTokens + 1;
    return blocks < kSpanBlocks ? blocks : kSpanBlocks;
  }
  // The first vector that takes part in block `block` of the span.
  int FirstVector(int begin, int block) const {
    int i = 0;
    while (NumBlocks(i, begin) <= block) ++i;
    return i;
  }

  void Run() {
    for (int i = 0; i < num_vectors; ++i) {
      max[i] = -std::numeric_limits<float>::infinity();
      sum[i] = 0;
      for (int dim = 0; dim < args.kv.layout.head_dim; ++dim) sums[i][dim] = 0;
    }
    for (int begin = 0; begin <= position[num_vectors - 1]; begin += kSpanTokens) Span(begin);
    for (int i = 0; i < num_vectors; ++i) {
      const F32x16 inverse = Fill(1 / sum[i]);
      ForLanes(args.kv.layout.head_dim, [&](int dim, auto load, auto store) {
        store(out[i] + dim, load(sums[i] + dim) * inverse);
      });
    }
  }

  // K of the block that begins with `token`.
  const T* Block(int token, int kv_head) const {
    const KvLayout& layout = args.kv.layout;
    const std::byte* page =
        args.kv.arena + sequence.pages[token / layout.page_tokens] * layout.PageBytes();
    return reinterpret_cast<const T*>(
        page + layout.KOffset(args.layer, kv_head, token % layout.page_tokens));
  }

  // Fills ahead_bytes with what is read after this span's blocks: the next span's, after the last
  // span the next head's first ones, which the thread that is here is likely to read. Blocks lie
  // scattered over pages, the processor cannot guess where. Each line is fetched as its counterpart
  // is read: all at once they would keep the thread waiting.
  void FindAhead(int begin, int num_blocks) {
    for (int block = 0; block < num_blocks; ++block) ahead_bytes[block] = 0;
    if (!reads_first) return;
    const int last = num_vectors - 1;
    int token = begin + kSpanTokens;
    int head = kv_head;
    if (token > position[last]) {
      token = 0;
      ++head;
    }
    if (head == args.kv.layout.num_kv_heads) return;
    const int next_blocks = NumBlocks(last, token);
    for (int block = 0; block < num_blocks && block < next_blocks; ++block) {
      ahead_bytes[block] =
          reinterpret_cast<const std::byte*>(Block(token + block * kKvBlockTokens, head)) -
          reinterpret_cast<const std::byte*>(k_blocks[block]);
    }
  }

  void Span(int begin) {
    const int num_blocks = NumBlocks(num_vectors - 1, begin);
    for (int block = 0; block < num_blocks; ++block) {
      k_blocks[block] = Block(begin + block * kKvBlockTokens, kv_head);
      v_blocks[block] = k_blocks[block] + args.kv.layout.HeadBytes() / 2 / sizeof(T);
    }
    FindAhead(begin, num_blocks);
    for (int block = 0; block < num_blocks;) block += Scores(begin, block, num_blocks);
    const int first = FirstVector(begin, 0);
    for (int i = first; i < num_vectors; ++i) Softmax(i, begin);
    // Blocks in which all take part come first; then, on the diagonal, one by one.
    const int shared = NumBlocks(first, begin);
    AddValues(first, 0, shared);
    for (float& factor : rescale) factor = 1;
    for (int block = shared; block < num_blocks; ++block) {
      AddValues(FirstVector(begin, block), block, block + 1);
    }
  }

  // Scores of one or two blocks, for the vectors that take part in the first of them; returns how
  // many blocks. A score is one chain over the head dimension: the same tile as Linear's, with
  // tokens for outputs. A tile has one place ahead, so who reads from memory takes one block.
  int Scores(int begin, int block, int num_blocks) {
    const int most = reads_first || kTilePanels < 2 ? 1 : 2;
    const int first = FirstVector(begin, block);
    const int taken = num_blocks - block < most ? num_blocks - block : most;
    TileArgs<T> tile;
    tile.x = q[first];
    tile.x_stride = kMaxHeadDim;
    for (int i = 0; i < taken; ++i) tile.lines[i] = k_blocks[block + i];
    tile.ahead_late = {ahead_bytes[block], kLanes * Act<T>::kPack * static_cast<int>(sizeof(T))};
    tile.k = args.kv.layout.head_dim;
    tile.y = scores[first] + block * kKvBlockTokens;
    tile.y_stride = kSpanTokens;
    tile.y_panel_stride = kKvBlockTokens;
    tile.y_is_far = false;
    tile.begin = TileArgs<T>::kFromZero;
    tile.end = TileArgs<T>::kStore;
    DispatchTile<T, kTileRows, kTilePanels>(num_vectors - first, taken, tile);
    return taken;
  }

  void Softmax(int i, int begin) {
    const int num_blocks = NumBlocks(i, begin);
    const F32x16 scale = Fill(args.scale);
    F32x16 largest = Fill(max[i]);
    for (int block = 0; block < num_blocks; ++block) {
      float* lanes = scores[i] + block * kKvBlockTokens;
      F32x16 score = Load(lanes) * scale;
      const int visible = position[i] + 1 - begin - block * kKvBlockTokens;
      if (visible < kKvBlockTokens)
        score = FillTail(score, visible, -std::numeric_limits<float>::infinity());
      Store(lanes, score);
      largest = Max(score, largest);
    }
    const float new_max = ReduceMax(largest);
    rescale[i] = Exp(Fill(max[i] - new_max)).part[0][0];  // all lanes are the same
    max[i] = new_max;
    F32x16 total = Fill(0);
    for (int block = 0; block < num_blocks; ++block) {
      const F32x16 weight = Exp(Load(scores[i] + block * kKvBlockTokens) - Fill(new_max));
      total = total + weight;
      Act<T>::StoreLanes(weights[i] + block * kKvBlockTokens, weight);
    }
    sum[i] = sum[i] * rescale[i] + ReduceAdd(total);
  }

  // sums[first.., :] = sums * rescale + weights V over blocks [block_begin, block_end) of the span.
  void AddValues(int first, int block_begin, int block_end) {
    const int head_dim = args.kv.layout.head_dim;
    constexpr int kWide = kParts == 1 ? 2 : 1;
    const int rows = num_vectors - first;
    int dim = 0;
    for (; dim + kWide * kLanes <= head_dim; dim += kWide * kLanes) {
      DispatchValues<kTileVectors, kWide>(rows, first, block_begin, block_end, dim, kLanes);
    }
    for (; dim < head_dim; dim += kLanes) {
      const int count = head_dim - dim < kLanes ? head_dim - dim : kLanes;
      DispatchValues<kTileVectors, 1>(rows, first, block_begin, block_end, dim, count);
    }
  }

  template <int kRows, int kWide>
  void DispatchValues(int rows, int first, int block_begin, int block_end, int dim, int count) {
    if constexpr (kRows > 1) {
      if (rows < kRows) {
        return DispatchValues<kRows - 1, kWide>(rows, first, block_begin, block_end, dim, count);
      }
    }
    const auto whole = [](const T* from) { return Act<T>::LoadLine(from); };
    if (count < kLanes) {
      ValuesTile<kRows, kWide, false>(first, block_begin, block_end, dim, [count](const T* from) {
        return Act<T>::LoadLine(from, count * Act<T>::kPack);
      });
    } else if (reads_first) {
      ValuesTile<kRows, kWide, true>(first, block_begin, block_end, dim, whole);
    } else {
      ValuesTile<kRows, kWide, false>(first, block_begin, block_end, dim, whole);
    }
  }

  template <int kRows, int kWide, bool kAhead, typename LoadLine>
  void ValuesTile(int first, int block_begin, int block_end, int dim, LoadLine load_line) {
    using A = Act<T>;
    const ptrdiff_t line_stride = args.kv.layout.head_dim * A::kPack;
    F32x16 tile[kRows][kWide];
    for (int r = 0; r < kRows; ++r) {
      for (int w = 0; w < kWide; ++w) {
        tile[r][w] = Load(sums[first + r] + dim + w * kLanes) * Fill(rescale[first + r]);
      }
    }
    for (int block = block_begin; block < block_end; ++block) {
      const T* v = v_blocks[block] + dim * A::kPack;
      const ptrdiff_t ahead = ahead_bytes[block];
      for (int token = 0; token < kKvBlockTokens; token += A::kPack, v += line_stride) {
        typename A::Line line[kWide];
        for (int w = 0; w < kWide; ++w) {
          const T* from = v + w * kLanes * A::kPack;
          if (kAhead) __builtin_prefetch(reinterpret_cast<const std::byte*>(from) + ahead);
          line[w] = load_line(from);
        }
        for (int r = 0; r < kRows; ++r) {
          const typename A::Line weight =
              A::Splat(&weights[first + r][block * kKvBlockTokens + token]);
          for (int w = 0; w < kWide; ++w) tile[r][w] = A::Dot(tile[r][w], line[w], weight);
        }
      }
    }
    for (int r = 0; r < kRows; ++r) {
      for (int w = 0; w < kWide; ++w) Store(sums[first + r] + dim + w * kLanes, tile[r][w]);
    }
  }
};

template <typename T>
void AttentionOf(const AttentionArgs& args, const SequenceRows& sequence, int kv_head, Range rows) {
  const int head_dim = args.kv.layout.head_dim;
  const int group = args.num_heads / args.kv.layout.num_kv_heads;
  const int end = rows.end * group;
  for (int vector = rows.begin * group; vector < end;) {
    AttentionTile<T> tile(args, sequence, kv_head);
    tile.reads_first = vector == rows.begin * group;
    tile.num_vectors = end - vector < kTileVectors ? end - vector : kTileVectors;
    for (int i = 0; i < tile.num_vectors; ++i, ++vector) {
      const int row = vector / group;
      const ptrdiff_t head = (static_cast<ptrdiff_t>(sequence.row_begin) + row) * args.num_heads +
                             kv_head * group + vector % group;
      tile.position[i] = sequence.first_position + row;
      tile.out[i] = static_cast<T*>(args.out) + head * head_dim;
      std::memcpy(tile.q[i], static_cast<const T*>(args.q) + head * head_dim, head_dim * sizeof(T));
    }
    tile.Run();
  }
}

void Attention(const AttentionArgs& args, const SequenceRows& sequence, int kv_head, Range rows) {
  if (args.kv.layout.dtype == DType::kBF16)
    return AttentionOf<BFloat16>(args, sequence, kv_head, rows);
  AttentionOf<float>(args, sequence, kv_head, rows);
}

}  // namespace
}  // namespace lorry::kernels
