#include "merge/rounding.h"

#include <Eigen/Core>
#include <cmath>
#include <cstring>

#include "base/check.h"

namespace lorry::merge {
namespace {

// `round` makes a Word of a float, `value` the float that the Word stands for.
template <typename Word, typename Round, typename Value>
bool RoundAll(std::span<const float> values, std::span<std::byte> out, Round round, Value value) {
  bool finite = true;
  for (size_t i = 0; i < values.size(); ++i) {
    const Word word = round(values[i]);
    finite &= static_cast<bool>(std::isfinite(value(word)));
    std::memcpy(out.data() + i * sizeof(Word), &word, sizeof(Word));
  }
  return finite;
}

}  // namespace

bool RoundTo(DType dtype, std::span<const float> values, std::span<std::byte> out) {
  CHECK_EQ(out.size(), values.size() * DTypeBytes(dtype));
  switch (dtype) {
    case DType::kF32:
      return RoundAll<float>(values, out, [](float x) { return x; }, [](float x) { return x; });
    case DType::kBF16:
      return RoundAll<BFloat16>(
          values, out, [](float x) { return ToBFloat16(x); },
          [](BFloat16 x) { return ToFloat(x); });
    case DType::kF16:
      return RoundAll<uint16_t>(
          values, out, [](float x) { return Eigen::half_impl::float_to_half_rtne(x).x; },
          [](uint16_t x) { return HalfToFloat(x); });
    default:
      CHECK_MSG(false, "{} is not a float weight", DTypeName(dtype));
  }
  return false;
}

}  // namespace lorry::merge
