#include "kernels/packed_matrix.h"

#include <gtest/gtest.h>

#include <vector>

#include "kernels/embedding.h"
#include "kernels/kernel_testing.h"

namespace lorry::kernels {
namespace {

struct Case {
  DType source, packed;
};

class PackTest : public testing::TestWithParam<Case> {};
INSTANTIATE_TEST_SUITE_P(
    Types, PackTest,
    testing::Values(Case{DType::kBF16, DType::kBF16}, Case{DType::kF16, DType::kBF16},
                    Case{DType::kF32, DType::kBF16}, Case{DType::kBF16, DType::kF32},
                    Case{DType::kF16, DType::kF32}, Case{DType::kF32, DType::kF32},
                    Case{DType::kF64, DType::kBF16}, Case{DType::kF64, DType::kF32}),
    [](const auto& info) {
      return std::string(DTypeName(info.param.source)) + "To" +
             std::string(DTypeName(info.param.packed));
    });

// Source bytes and the values that they stand for.
struct Source {
  std::vector<std::byte> bytes;
  std::vector<float> values;

  Source(size_t num_elements, DType dtype, int seed) : bytes(num_elements * DTypeBytes(dtype)) {
    std::mt19937 generator(seed);
    std::normal_distribution<float> normal;
    for (size_t i = 0; i < num_elements; ++i) {
      float value = normal(generator);
      const uint16_t half =
          static_cast<uint16_t>(generator() & 0xbfff);  // any finite half below 2 in magnitude
      const BFloat16 brain = ToBFloat16(value);
      if (dtype == DType::kF16) value = HalfToFloat(half);
      if (dtype == DType::kBF16) value = ToFloat(brain);
      const double wide = value * (1.0 + 1e-10);  // the nearest float is the value
      const void* from = dtype == DType::kF16    ? static_cast<const void*>(&half)
                         : dtype == DType::kF64  ? &wide
                         : dtype == DType::kBF16 ? &brain
                                                 : static_cast<const void*>(&value);
      std::memcpy(&bytes[i * DTypeBytes(dtype)], from, DTypeBytes(dtype));
      values.push_back(value);
    }
  }
};

TEST_P(PackTest, EveryElementIsWhereTheLayoutSays) {
  const auto [source_dtype, packed_dtype] = GetParam();
  const int pack = packed_dtype == DType::kBF16 ? 2 : 1;
  for (const int n : {1, 16, 17, 48}) {
    for (const int k : {1, 2, 33, 300, 513}) {
      for (const int step : {1, 2}) {
        const Source source(static_cast<size_t>(n) * k, source_dtype, 4);
        const int num_panels = 1 + NumPanels(n) * step;
        const size_t panel_elements = PanelBytes(k, packed_dtype) / DTypeBytes(packed_dtype);
        EXPECT_EQ(panel_elements, static_cast<size_t>((k + pack - 1) / pack * pack) * 16);
        Tensor packed(num_panels * panel_elements, packed_dtype),
            expected(num_panels * panel_elements, packed_dtype);
        PackRows({source.bytes.data(), source_dtype, n, k, packed.data(), packed_dtype, 1, step});
        for (int row = 0; row < n; ++row) {
          for (int i = 0; i < k; ++i) {
            const size_t panel = 1 + row / 16 * step;
            expected.Set(panel * panel_elements + (i / pack * 16 + row % 16) * pack + i % pack,
                         source.values[row * k + i]);
          }
        }
        ASSERT_TRUE(packed.SameBits(expected)) << n << "x" << k << " step " << step;
      }
    }
  }
}

TEST_P(PackTest, EmbeddingGathersTheRows) {
  const auto [source_dtype, packed_dtype] = GetParam();
  constexpr int kVocab = 100, kHidden = 51;
  const Source source(kVocab * kHidden, source_dtype, 4);
  Tensor packed(NumPanels(kVocab) * PanelBytes(kHidden, packed_dtype) / DTypeBytes(packed_dtype),
                packed_dtype);
  PackRows({source.bytes.data(), source_dtype, kVocab, kHidden, packed.data(), packed_dtype});
  for (const size_t num_tokens : {0, 1, 9}) {
    std::vector<TokenId> tokens;
    for (size_t i = 0; i < num_tokens; ++i)
      tokens.push_back(static_cast<TokenId>((i * 37 + 99) % kVocab));
    Tensor out(num_tokens * kHidden, DType::kF32);
    Embedding(Stream(2),
              {tokens, {packed.data(), packed_dtype, NumPanels(kVocab), kHidden}, out.f32()});
    for (size_t i = 0; i < out.size(); ++i) {
      Tensor expected(1, packed_dtype);
      expected.Set(0, source.values[tokens[i / kHidden] * kHidden + i % kHidden]);
      ASSERT_EQ(out.Get(i), expected.Get(0));
    }
  }
}

}  // namespace
}  // namespace lorry::kernels
