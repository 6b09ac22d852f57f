#include "kernels/packed_matrix.h"

#include <algorithm>

#include "base/check.h"

namespace lorry::kernels {
namespace {

template <typename To, typename From>
inline To Convert(From value) {
  if constexpr (std::is_same_v<To, From>) {
    return value;
  } else if constexpr (std::is_same_v<From, uint16_t>) {  // half precision
    return Convert<To>(HalfToFloat(value));
  } else if constexpr (std::is_same_v<From, double>) {
    return Convert<To>(static_cast<float>(value));
  } else if constexpr (std::is_same_v<To, BFloat16>) {
    return ToBFloat16(value);
  } else {
    return ToFloat(value);
  }
}

// Elements of k that lie side by side in a line.
template <typename To>
constexpr int kPack = std::is_same_v<To, BFloat16> ? 2 : 1;

// One panel: rows [num_lanes, k] of the source become lines [k / kPack][16][kPack]. In strips of k,
// so that the lines that are being filled stay in the first-level cache until all lanes have come
// by.
template <typename To, typename From>
void PackPanel(const From* rows, int num_lanes, int k, To* panel) {
  constexpr int pack = kPack<To>;
  constexpr int kStrip = 256;
  for (int begin = 0; begin < k; begin += kStrip) {
    const int end = std::min(k, begin + kStrip);
    const int whole = end - (end - begin) % pack;
    for (int lane = 0; lane < num_lanes; ++lane) {
      const From* row = rows + static_cast<ptrdiff_t>(lane) * k;
      To* column = panel + static_cast<ptrdiff_t>(begin) * kPanel + lane * pack;
      for (int k_idx = begin; k_idx < whole; k_idx += pack, column += kPanel * pack) {
        for (int i = 0; i < pack; ++i) column[i] = Convert<To>(row[k_idx + i]);
      }
      if (whole < end) column[0] = Convert<To>(row[whole]);
    }
  }
}

template <typename To, typename From>
void Pack(const PackArgs& args) {
  const ptrdiff_t panel_elements = PanelBytes(args.k, args.dtype) / sizeof(To);
  for (int row = 0; row < args.n; row += kPanel) {
    const int panel_idx = args.panel_begin + row / kPanel * args.panel_step;
    PackPanel<To, From>(
        static_cast<const From*>(args.source) + static_cast<ptrdiff_t>(row) * args.k,
        std::min(kPanel, args.n - row), args.k,
        static_cast<To*>(args.panels) + panel_idx * panel_elements);
  }
}

template <typename To>
void PackAs(const PackArgs& args) {
  switch (args.source_dtype) {
    case DType::kBF16:
      return Pack<To, BFloat16>(args);
    case DType::kF16:
      return Pack<To, uint16_t>(args);
    case DType::kF64:
      return Pack<To, double>(args);
    default:
      CHECK(args.source_dtype == DType::kF32);
      return Pack<To, float>(args);
  }
}

template <typename T>
void Unpack(const PackedMatrix& matrix, int n_idx, float* row) {
  constexpr int pack = kPack<T>;
  const auto* line = static_cast<const T*>(matrix.data) +
                     n_idx / kPanel * (PanelBytes(matrix.k, matrix.dtype) / sizeof(T)) +
                     n_idx % kPanel * pack;
  for (int k_idx = 0; k_idx < matrix.k; ++k_idx) {
    row[k_idx] = Convert<float>(line[k_idx / pack * kPanel * pack + k_idx % pack]);
  }
}

}  // namespace

size_t PanelBytes(int k, DType dtype) {
  CHECK(dtype == DType::kBF16 || dtype == DType::kF32);
  const size_t padded = dtype == DType::kBF16 ? (static_cast<size_t>(k) + 1) / 2 * 2 : k;
  return padded * kPanel * DTypeBytes(dtype);
}

void PackRows(const PackArgs& args) {
  CHECK_GE(args.n, 0);
  CHECK_GE(args.k, 1);
  CHECK_GE(args.panel_step, 1);
  if (args.dtype == DType::kBF16) return PackAs<BFloat16>(args);
  CHECK(args.dtype == DType::kF32);
  PackAs<float>(args);
}

void UnpackRow(const PackedMatrix& matrix, int n_idx, float* row) {
  CHECK_LT(n_idx, matrix.num_panels * kPanel);
  CHECK_GE(n_idx, 0);
  if (matrix.dtype == DType::kBF16) return Unpack<BFloat16>(matrix, n_idx, row);
  CHECK(matrix.dtype == DType::kF32);
  Unpack<float>(matrix, n_idx, row);
}

}  // namespace lorry::kernels
