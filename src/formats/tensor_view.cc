#include "formats/tensor_view.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>

#include "base/check.h"

namespace lorry::formats {
namespace {

// Words are copied out in blocks, since the file promises no alignment; a block stays in the
// first-level cache.
constexpr size_t kBlockElements = 2048;

// Calls visit(words, count, first_idx) over all elements of a tensor whose elements are as wide as
// Word.
template <typename Word, typename Visit>
void ForEachBlock(std::span<const std::byte> bytes, Visit visit) {
  std::array<Word, kBlockElements> words;
  const size_t num_elements = bytes.size() / sizeof(Word);
  for (size_t first = 0; first < num_elements; first += kBlockElements) {
    const size_t count = std::min(kBlockElements, num_elements - first);
    std::memcpy(words.data(), bytes.data() + first * sizeof(Word), count * sizeof(Word));
    visit(words.data(), count, first);
  }
}

// True if no element has all bits of its exponent set, which only NaN and the infinities have.
template <typename Word>
bool NoExponentFull(std::span<const std::byte> bytes, Word exponent_mask) {
  bool found = false;
  ForEachBlock<Word>(bytes, [&](const Word* words, size_t count, size_t) {
    Word any = 0;
    for (size_t i = 0; i < count; ++i) any |= (words[i] & exponent_mask) == exponent_mask;
    found |= any != 0;
  });
  return !found;
}

const std::vector<float>& HalfTable() {
  static const std::vector<float> table = [] {
    std::vector<float> values(1 << 16);
    for (size_t half = 0; half < values.size(); ++half) {
      values[half] = HalfToFloat(static_cast<uint16_t>(half));
    }
    return values;
  }();
  return table;
}

// Calls store(element_idx, value) with every element as f32.
template <typename Store>
void ForEachAsF32(const TensorView& tensor, Store store) {
  switch (tensor.dtype) {
    case DType::kF32:
      return ForEachBlock<float>(tensor.bytes, [&](const float* x, size_t count, size_t first) {
        for (size_t i = 0; i < count; ++i) store(first + i, x[i]);
      });
    case DType::kF64:
      return ForEachBlock<double>(tensor.bytes, [&](const double* x, size_t count, size_t first) {
        for (size_t i = 0; i < count; ++i) store(first + i, static_cast<float>(x[i]));
      });
    case DType::kBF16:
      return ForEachBlock<uint16_t>(tensor.bytes,
                                    [&](const uint16_t* x, size_t count, size_t first) {
                                      for (size_t i = 0; i < count; ++i)
                                        store(first + i, ToFloat(BFloat16{x[i]}));
                                    });
    case DType::kF16: {
      const float* table = HalfTable().data();
      return ForEachBlock<uint16_t>(tensor.bytes,
                                    [&](const uint16_t* x, size_t count, size_t first) {
                                      for (size_t i = 0; i < count; ++i)
                                        store(first + i, table[x[i]]);
                                    });
    }
    default:
      CHECK_MSG(false, "{} is not a float weight", tensor.Describe());
  }
}

}  // namespace

int64_t TensorView::num_elements() const {
  return static_cast<int64_t>(bytes.size() / DTypeBytes(dtype));
}

uint64_t TensorView::num_bytes() const {
  const std::optional<uint64_t> bytes = ShapeBytes(shape, dtype);
  CHECK(bytes.has_value());  // readers have refused others
  return *bytes;
}

std::string TensorView::Describe() const {
  return fmt::format("{} [{}]", DTypeName(dtype), fmt::join(shape, ", "));
}

std::optional<uint64_t> ShapeBytes(const std::vector<int64_t>& shape, DType dtype) {
  uint64_t bytes = DTypeBytes(dtype);
  for (int64_t dim : shape) {
    if (__builtin_mul_overflow(bytes, static_cast<uint64_t>(dim), &bytes)) return std::nullopt;
  }
  return bytes;
}

bool IsFloatWeight(DType dtype) {
  return dtype == DType::kF32 || dtype == DType::kBF16 || dtype == DType::kF16 ||
         dtype == DType::kF64;
}

DType TakenAs(DType dtype) { return dtype == DType::kF64 ? DType::kF32 : dtype; }

void ConvertToF32(const TensorView& tensor, std::span<float> out) {
  CHECK_EQ(static_cast<size_t>(tensor.num_elements()), out.size());
  ForEachAsF32(tensor, [&](size_t i, float value) { out[i] = value; });
}

void ConvertToBF16(const TensorView& tensor, std::span<BFloat16> out) {
  CHECK_EQ(static_cast<size_t>(tensor.num_elements()), out.size());
  if (tensor.dtype == DType::kBF16) {
    if (!out.empty()) std::memcpy(out.data(), tensor.bytes.data(), tensor.bytes.size());
    return;
  }
  ForEachAsF32(tensor, [&](size_t i, float value) { out[i] = ToBFloat16(value); });
}

bool AllFinite(const TensorView& tensor) {
  switch (tensor.dtype) {
    case DType::kF32:
      return NoExponentFull<uint32_t>(tensor.bytes, 0x7f800000u);
    case DType::kF64: {
      bool finite = true;
      ForEachAsF32(tensor, [&](size_t, float value) { finite &= std::isfinite(value); });
      return finite;
    }
    case DType::kBF16:
      return NoExponentFull<uint16_t>(tensor.bytes, 0x7f80u);
    case DType::kF16:
      return NoExponentFull<uint16_t>(tensor.bytes, 0x7c00u);
    default:
      CHECK_MSG(false, "{} is not a float weight", tensor.Describe());
  }
  return false;
}

}  // namespace lorry::formats
