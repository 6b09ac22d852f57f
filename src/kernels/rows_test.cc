// RMS norm, SiLU-mul and the choice of an instruction set.
#include <gtest/gtest.h>

#include <cmath>
#include <vector>

#include "kernels/isa.h"
#include "kernels/kernel_testing.h"
#include "kernels/norm.h"
#include "kernels/silu_mul.h"

namespace lorry::kernels {
namespace {

constexpr double Bound(DType act) { return act == DType::kF32 ? 2e-6 : 2e-3; }

class RowsTest : public testing::TestWithParam<DType> {};
INSTANTIATE_TEST_SUITE_P(Types, RowsTest, testing::Values(DType::kBF16, DType::kF32),
                         [](const auto& info) { return std::string(DTypeName(info.param)); });

struct NormResult {
  Tensor out, residual;
};

NormResult RunNorm(const std::string& isa, const Stream& stream, const Tensor& residual,
                   const Tensor* delta, const Tensor& weight, int first_row, int rows, int hidden,
                   DType act) {
  EXPECT_TRUE(SelectIsa(isa));
  const int delta_stride = hidden + 5;
  NormResult result{Tensor(static_cast<size_t>(rows) * hidden, act),
                    Tensor(static_cast<size_t>(rows) * hidden, DType::kF32)};
  if (rows > 0) {
    std::memcpy(result.residual.data(), residual.f32() + static_cast<size_t>(first_row) * hidden,
                static_cast<size_t>(rows) * hidden * 4);
  }
  RmsNorm(stream,
          {.residual = result.residual.f32(),
           .delta = delta == nullptr ? nullptr
                                     : delta->f32() + static_cast<size_t>(first_row) * delta_stride,
           .delta_stride = delta_stride,
           .weight = weight.f32(),
           .epsilon = 1e-5f,
           .rows = rows,
           .hidden = hidden,
           .act = act,
           .out = result.out.data()});
  return result;
}

TEST_P(RowsTest, RmsNormMatchesTheFormula) {
  const Stream stream(2);
  for (const int hidden : {1, 15, 48, 64, 172, 576, 8192}) {
    for (const int rows : {0, 1, 3, 40}) {
      const Tensor residual = Tensor::Random(static_cast<size_t>(rows) * hidden, DType::kF32, 1);
      const Tensor delta =
          Tensor::Random(static_cast<size_t>(rows) * (hidden + 5), DType::kF32, 2, 0.5f);
      const Tensor weight = Tensor::Random(hidden, DType::kF32, 3);
      for (const Tensor* added : {static_cast<const Tensor*>(nullptr), &delta}) {
        Tensor sum(residual.size(), DType::kF32), expected(residual.size(), GetParam());
        for (int row = 0; row < rows; ++row) {
          double squares = 0;
          for (int i = 0; i < hidden; ++i) {
            const float value = residual.Get(row * hidden + i) +
                                (added == nullptr ? 0 : added->Get(row * (hidden + 5) + i));
            sum.Set(row * hidden + i, value);
            squares += static_cast<double>(value) * value;
          }
          const double inverse_rms = 1 / std::sqrt(squares / hidden + 1e-5);
          for (int i = 0; i < hidden; ++i) {
            expected.Set(row * hidden + i, static_cast<float>(sum.Get(row * hidden + i) *
                                                              inverse_rms * weight.Get(i)));
          }
        }
        for (const std::string& isa : AvailableIsas()) {
          const NormResult result =
              RunNorm(isa, stream, residual, added, weight, 0, rows, hidden, GetParam());
          ExpectClose(result.out, expected, Bound(GetParam()),
                      fmt::format("{} hidden {} rows {}", isa, hidden, rows));
          EXPECT_TRUE(result.residual.SameBits(sum)) << isa;
        }
      }
    }
  }
}

TEST_P(RowsTest, RmsNormBitsDependOnTheRowAlone) {
  constexpr int kHidden = 577, kRows = 90;
  const Tensor residual = Tensor::Random(kRows * kHidden, DType::kF32, 1);
  const Tensor delta = Tensor::Random(kRows * (kHidden + 5), DType::kF32, 2);
  const Tensor weight = Tensor::Random(kHidden, DType::kF32, 3);
  for (const std::string& isa : AvailableIsas()) {
    const NormResult whole =
        RunNorm(isa, Stream(3), residual, &delta, weight, 0, kRows, kHidden, GetParam());
    for (int row = 0; row < kRows; row += 11) {
      const NormResult alone =
          RunNorm(isa, Stream(1), residual, &delta, weight, row, 1, kHidden, GetParam());
      for (int i = 0; i < kHidden; ++i)
        ASSERT_EQ(alone.out.Get(i), whole.out.Get(row * kHidden + i)) << isa;
    }
  }
}

TEST_P(RowsTest, SiluMulMatchesTheFormula) {
  const Stream stream(2);
  for (const int num_panels : {1, 11, 96}) {
    for (const int rows : {0, 1, 7, 60}) {
      Tensor gate_up =
          Tensor::Random(static_cast<size_t>(rows) * num_panels * 32, DType::kF32, 1, 5);
      if (rows > 0) {  // far ends: silu goes to 0 and to x
        gate_up.Set(0, -200);
        gate_up.Set(1, 200);
        gate_up.Set(2, 0);
      }
      Tensor expected(gate_up.size() / 2, GetParam());
      for (size_t i = 0; i < expected.size(); ++i) {
        const double gate = gate_up.Get(i / 16 * 32 + i % 16),
                     up = gate_up.Get(i / 16 * 32 + 16 + i % 16);
        expected.Set(i, static_cast<float>(gate / (1 + std::exp(-gate)) * up));
      }
      for (const std::string& isa : AvailableIsas()) {
        ASSERT_TRUE(SelectIsa(isa));
        Tensor out(expected.size(), GetParam());
        SiluMul(stream, {gate_up.f32(), rows, num_panels, GetParam(), out.data()});
        ExpectClose(out, expected, Bound(GetParam()),
                    fmt::format("{} {}x{}", isa, rows, num_panels));
      }
    }
  }
}

TEST(SiluMul, PaddingStaysZero) {
  for (const std::string& isa : AvailableIsas()) {
    ASSERT_TRUE(SelectIsa(isa));
    const Tensor gate_up(32, DType::kF32);
    Tensor out = Tensor::Random(16, DType::kBF16, 1);
    SiluMul(Stream(1), {gate_up.f32(), 1, 1, DType::kBF16, out.data()});
    for (size_t i = 0; i < 16; ++i) EXPECT_EQ(out.Get(i), 0) << isa;
  }
}

TEST(Isa, IsChosenByNameAndUnknownOnesAreRefused) {
  for (const std::string& isa : AvailableIsas()) {
    ASSERT_TRUE(SelectIsa(isa));
    EXPECT_EQ(IsaName(SelectedIsa()), isa);
  }
  const Status status = SelectIsa("sse9");
  ASSERT_FALSE(status);
  EXPECT_EQ(status.error().code, ErrorCode::kInvalidArgument);
  EXPECT_NE(status.error().message.find("portable"), std::string::npos) << status.error().message;
  ASSERT_TRUE(SelectIsa("auto"));
  EXPECT_EQ(SelectedIsa(), BestIsa());
}

}  // namespace
}  // namespace lorry::kernels
