#include "formats/tensor_view.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

namespace lorry::formats {
namespace {

// A tensor over `count` elements at an odd address inside `storage`.
template <typename Word>
TensorView Unaligned(DType dtype, const std::vector<Word>& values, std::string& storage) {
  storage =
      "?" + std::string(reinterpret_cast<const char*>(values.data()), values.size() * sizeof(Word));
  const std::span<const char> data(storage);
  return {"t", dtype, {static_cast<int64_t>(values.size())}, std::as_bytes(data.subspan(1))};
}

std::vector<float> AsF32(const TensorView& tensor) {
  std::vector<float> out(static_cast<size_t>(tensor.num_elements()));
  ConvertToF32(tensor, out);
  return out;
}

TEST(TensorViewTest, ConvertsUnalignedDataOfEveryFloatType) {
  std::string storage;
  std::vector<float> many(5000);  // more than two blocks
  for (size_t i = 0; i < many.size(); ++i) many[i] = static_cast<float>(i) - 2500.5f;
  EXPECT_EQ(AsF32(Unaligned(DType::kF32, many, storage)), many);
  EXPECT_EQ(AsF32(Unaligned<uint16_t>(DType::kBF16, {0x3f80, 0xc000}, storage)),
            (std::vector<float>{1, -2}));
  EXPECT_EQ(AsF32(Unaligned<uint16_t>(DType::kF16, {0x3c00, 0xc000, 0x0001}, storage)),
            (std::vector<float>{1, -2, 0x1p-24f}));
  // The nearest float, ties to even; denormals and zeros too.
  EXPECT_EQ(AsF32(Unaligned<double>(
                DType::kF64, {1.0 + 0x1p-24, 1.0 + 0x1.8p-24, -0x1p-149, 0x1p-151, -2.5}, storage)),
            (std::vector<float>{1.0f, 1.0f + 0x1p-23f, -0x1p-149f, 0.0f, -2.5f}));
}

TEST(TensorViewTest, DoublesAreFiniteIfTheirFloatsAre) {
  std::string storage;
  const double huge = 0x1.ffffffp127;  // rounds to infinity
  EXPECT_TRUE(AllFinite(Unaligned<double>(DType::kF64, {0x1.fffffep127, -1e-300}, storage)));
  EXPECT_FALSE(AllFinite(Unaligned<double>(DType::kF64, {1.0, huge}, storage)));
  EXPECT_FALSE(AllFinite(Unaligned<double>(DType::kF64, {std::nan("")}, storage)));
  EXPECT_FALSE(AllFinite(Unaligned<double>(DType::kF64, {-HUGE_VAL, 1.0}, storage)));
}

TEST(TensorViewTest, RoundsToBF16AsTheHardwareDoes) {
  std::string storage;
  std::vector<BFloat16> out(3);
  // 1 + 2^-8 lies half-way: to even; a little more goes up.
  ConvertToBF16(
      Unaligned(DType::kF32, std::vector<float>{1.0f + 0x1p-8f, 1.0f + 0x1.1p-8f, -3.0f}, storage),
      out);
  EXPECT_EQ(out[0].bits, 0x3f80);
  EXPECT_EQ(out[1].bits, 0x3f81);
  EXPECT_EQ(out[2].bits, 0xc040);
  ConvertToBF16(Unaligned<uint16_t>(DType::kBF16, {1, 2, 0x7f80}, storage), out);
  EXPECT_EQ(out[2].bits, 0x7f80);
}

TEST(TensorViewTest, FindsNanAndInfinityAnywhere) {
  std::string storage;
  for (size_t where : {0, 1, 2047, 2048, 4999}) {
    std::vector<float> values(5000, std::numeric_limits<float>::max());
    EXPECT_TRUE(AllFinite(Unaligned(DType::kF32, values, storage)));
    values[where] = where % 2 ? std::nanf("") : -std::numeric_limits<float>::infinity();
    EXPECT_FALSE(AllFinite(Unaligned(DType::kF32, values, storage))) << where;
  }
  EXPECT_TRUE(AllFinite(Unaligned<uint16_t>(DType::kBF16, {0x7f7f, 0x0001}, storage)));
  EXPECT_FALSE(AllFinite(Unaligned<uint16_t>(DType::kBF16, {0, 0xff80}, storage)));
  EXPECT_TRUE(AllFinite(Unaligned<uint16_t>(DType::kF16, {0x7bff, 0x83ff}, storage)));
  EXPECT_FALSE(AllFinite(Unaligned<uint16_t>(DType::kF16, {0, 0x7c01}, storage)));
  EXPECT_TRUE(AllFinite(Unaligned<uint16_t>(DType::kF16, {}, storage)));
}

TEST(TensorViewTest, DescribesItself) {
  EXPECT_EQ((TensorView{"t", DType::kBF16, {2, 3}, {}}).Describe(), "BF16 [2, 3]");
}

}  // namespace
}  // namespace lorry::formats
