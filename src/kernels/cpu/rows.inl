// RMS norm, SiLU-mul and the rotary embedding with its write to the KV cache. Compiled per
// instruction set, after cpu/lanes.h.
#include <cmath>
#include <type_traits>

#include "kernels/table.h"

namespace lorry::kernels {
namespace {

// Calls visit(begin, count) for steps of 16 over [0, size); only the last one may be short.
template <typename Visit>
LORRY_LANES void ForLanes(int size, const Visit& visit) {
  int begin = 0;
  for (; begin + kLanes <= size; begin += kLanes) {
    visit(
        begin, [](const float* from) { return Load(from); },
        [](auto* to, F32x16 value) {
          Act<std::remove_pointer_t<decltype(to)>>::StoreLanes(to, value);
        });
  }
  if (begin == size) return;
  const int count = size - begin;
  visit(
      begin, [count](const float* from) { return Load(from, count); },
      [count](auto* to, F32x16 value) {
        Act<std::remove_pointer_t<decltype(to)>>::StoreLanes(to, value, count);
      });
}

template <typename T>
void RmsNormOf(const RmsNormArgs& args, Range rows) {
  for (int row = rows.begin; row < rows.end; ++row) {
    float* residual = args.residual + static_cast<ptrdiff_t>(row) * args.hidden;
    const float* delta = args.delta == nullptr
                             ? nullptr
                             : args.delta + static_cast<ptrdiff_t>(row) * args.delta_stride;
    F32x16 squares = Fill(0);
    ForLanes(args.hidden, [&](int i, auto load, auto store) {
      F32x16 value = load(residual + i);
      if (delta != nullptr) {
        value = value + load(delta + i);
        store(residual + i, value);
      }
      squares = MulAdd(value, value, squares);
    });
    const float mean = ReduceAdd(squares) / static_cast<float>(args.hidden);
    const F32x16 inverse_rms = Fill(1 / std::sqrt(mean + args.epsilon));
    T* out = static_cast<T*>(args.out) + static_cast<ptrdiff_t>(row) * args.hidden;
    ForLanes(args.hidden, [&](int i, auto load, auto store) {
      store(out + i, load(residual + i) * inverse_rms * load(args.weight + i));
    });
  }
}

template <typename T>
void SiluMulOf(const SiluMulArgs& args, Range panels) {
  for (int panel = panels.begin; panel < panels.end; ++panel) {
    const float* gate_up = args.gate_up + static_cast<ptrdiff_t>(panel) * 2 * kPanel;
    const F32x16 gate = Load(gate_up);
    const F32x16 silu = gate / (Fill(1) + Exp(Fill(0) - gate));
    Act<T>::StoreLanes(static_cast<T*>(args.out) + static_cast<ptrdiff_t>(panel) * kPanel,
                       silu * Load(gate_up + kPanel));
  }
}

template <typename T>
void Rotate(const RopeArgs& args, const float* in, int position, T* out) {
  const int half = args.kv.layout.head_dim / 2;
  const float* cos = args.cos + static_cast<ptrdiff_t>(position) * half;
  const float* sin = args.sin + static_cast<ptrdiff_t>(position) * half;
  ForLanes(half, [&](int i, auto load, auto store) {
    const F32x16 lower = load(in + i), upper = load(in + i + half);
    const F32x16 c = load(cos + i), s = load(sin + i);
    store(out + i, lower * c - upper * s);
    store(out + i + half, upper * c + lower * s);
  });
}

// Where K and V of one position of one head go.
template <typename T>
struct KvPlace {
  T* k_block;
  T* v_block;
  int token;  // in the block

  KvPlace(const RopeArgs& args, const SequenceRows& sequence, int position, int kv_head) {
    const KvLayout& layout = args.kv.layout;
    const int slot = position % layout.page_tokens;
    std::byte* page =
        args.kv.arena + sequence.pages[position / layout.page_tokens] * layout.PageBytes();
    k_block = reinterpret_cast<T*>(page + layout.KOffset(args.layer, kv_head, slot));
    v_block = reinterpret_cast<T*>(page + layout.VOffset(args.layer, kv_head, slot));
    token = slot % kKvBlockTokens;
  }

  // A token has its place in every line of K's block. Unless they are all on their way at once,
  // each comes at the memory's latency.
  void Prefetch(int head_dim) const {
    constexpr int kWrite = 1, kLine = kLanes * Act<T>::kPack;
    for (int i = 0; i < head_dim * kKvBlockTokens; i += kLine) {
      __builtin_prefetch(k_block + i, kWrite);
    }
    const T* v = v_block + token / Act<T>::kPack * head_dim * Act<T>::kPack;
    for (int i = 0; i < head_dim * Act<T>::kPack; i += kLine) __builtin_prefetch(v + i, kWrite);
  }
};

// K and V of one token of one head, and zeros behind it where the table's contract asks for them.
template <typename T>
void StoreKv(const RopeArgs& args, const SequenceRows& sequence, int row, int kv_head) {
  constexpr int pack = Act<T>::kPack;
  const int head_dim = args.kv.layout.head_dim;
  const int position = sequence.first_position + row;
  const auto [k_block, v_block, token] = KvPlace<T>(args, sequence, position, kv_head);
  const float* in = args.qkv + static_cast<ptrdiff_t>(sequence.row_begin + row) * args.qkv_stride;

  T k[kMaxHeadDim], v[kMaxHeadDim];
  Rotate(args, in + args.k_column + kv_head * head_dim, position, k);
  ForLanes(head_dim, [&](int i, auto load, auto store) {
    store(v + i, load(in + args.v_column + kv_head * head_dim + i));
  });
  for (int dim = 0; dim < head_dim; dim += pack) {
    std::memcpy(k_block + dim * kKvBlockTokens + token * pack, k + dim, pack * sizeof(T));
  }
  for (int dim = 0; dim < head_dim; ++dim)
    v_block[(token / pack * head_dim + dim) * pack + token % pack] = v[dim];

  if (!LastOfFreshBlock(sequence, row)) return;
  const int next = token + 1;
  for (int dim = 0; dim < head_dim; dim += pack) {
    std::memset(static_cast<void*>(k_block + dim * kKvBlockTokens + next * pack), 0,
                static_cast<size_t>(kKvBlockTokens - next) * pack * sizeof(T));
  }
  if (next % pack != 0) {
    for (int dim = 0; dim < head_dim; ++dim)
      v_block[(next / pack * head_dim + dim) * pack + next % pack] = T{};
  }
  const int whole = (next + pack - 1) / pack * pack;
  std::memset(static_cast<void*>(v_block + whole * head_dim), 0,
              static_cast<size_t>(kKvBlockTokens - whole) * head_dim * sizeof(T));
}

template <typename T>
void RopeOf(const RopeArgs& args, const SequenceRows& sequence, Range rows) {
  const int head_dim = args.kv.layout.head_dim;
  const int num_kv_heads = args.kv.layout.num_kv_heads;
  for (int kv_head = 0; kv_head < num_kv_heads; ++kv_head) {
    KvPlace<T>(args, sequence, sequence.first_position + rows.begin, kv_head).Prefetch(head_dim);
  }
  for (int row = rows.begin; row < rows.end; ++row) {
    const ptrdiff_t step_row = sequence.row_begin + row;
    for (int head = 0; head < args.num_heads; ++head) {
      Rotate(args, args.qkv + step_row * args.qkv_stride + head * head_dim,
             sequence.first_position + row,
             static_cast<T*>(args.q) + (step_row * args.num_heads + head) * head_dim);
    }
    for (int kv_head = 0; kv_head < num_kv_heads; ++kv_head) {
      StoreKv<T>(args, sequence, row, kv_head);
    }
  }
}

void RmsNorm(const RmsNormArgs& args, Range rows) {
  if (args.act == DType::kBF16) return RmsNormOf<BFloat16>(args, rows);
  RmsNormOf<float>(args, rows);
}

void SiluMul(const SiluMulArgs& args, Range panels) {
  if (args.act == DType::kBF16) return SiluMulOf<BFloat16>(args, panels);
  SiluMulOf<float>(args, panels);
}

void Rope(const RopeArgs& args, const SequenceRows& sequence, Range rows) {
  if (args.kv.layout.dtype == DType::kBF16) return RopeOf<BFloat16>(args, sequence, rows);
  RopeOf<float>(args, sequence, rows);
}

}  // namespace
}  // namespace lorry::kernels
