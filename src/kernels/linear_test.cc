#include "kernels/linear.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <vector>

#include "kernels/kernel_testing.h"
#include "kernels/table.h"

namespace lorry::kernels {
namespace {

// Both types accumulate in f32; orders differ, so chains of k terms differ by about sqrt(k)
// roundings. With adapters in bf16 the shrunk row is rounded to bf16, whose ties may fall to either
// side.
constexpr double kBaseBound = 2e-5;
constexpr double LoraBound(DType act) { return act == DType::kF32 ? 2e-5 : 2e-3; }

struct Adapter {
  Tensor a, b;
  LoraPair pair;

  Adapter(int rank, int n, int k, DType act, int seed)
      : a(Tensor::Random(static_cast<size_t>(rank) * k, act, seed, 0.05f)),
        b(NumPanels(n) * PanelBytes(rank, act) / DTypeBytes(act), act) {
    const Tensor rows = Tensor::Random(static_cast<size_t>(n) * rank, act, seed + 1, 0.2f);
    PackRows({rows.data(), act, n, rank, b.data(), act});
    pair = {a.data(), b.data(), rank, n, 0.5f + 0.25f * static_cast<float>(seed % 5)};
  }
};

struct Layer {
  int n, k;
  DType act;
  Tensor packed, bias;

  Layer(int n, int k, DType act, int seed = 1)
      : n(n),
        k(k),
        act(act),
        packed(NumPanels(n) * PanelBytes(k, act) / DTypeBytes(act), act),
        bias(Tensor::Random(static_cast<size_t>(NumPanels(n)) * kPanel, DType::kF32, seed + 7)) {
    const Tensor rows = Tensor::Random(static_cast<size_t>(n) * k, act, seed, 0.1f);
    PackRows({rows.data(), act, n, k, packed.data(), act});
  }
  int columns() const { return NumPanels(n) * kPanel; }

  // y [rows, columns] of x [rows, k] with row stride x_stride.
  Tensor Run(const std::string& isa, const Stream& stream, const Tensor& x, int rows, int x_stride,
             const std::vector<LoraTask>& tasks, bool with_bias = true) const {
    EXPECT_TRUE(SelectIsa(isa));
    Tensor y(static_cast<size_t>(rows) * columns(), DType::kF32);
    const auto scratch = Buffer::Allocate(LoraScratchBytes(tasks, act)).value();
    Linear(stream, {.x = x.data(),
                    .rows = rows,
                    .x_stride = x_stride,
                    .weight = {packed.data(), act, NumPanels(n), k},
                    .bias = with_bias ? bias.f32() : nullptr,
                    .y = y.f32(),
                    .y_stride = columns(),
                    .lora = tasks,
                    .lora_scratch = scratch.data()});
    return y;
  }
};

// Rows [begin, begin + rows) of a tensor.
Tensor Slice(const Tensor& from, int begin, int rows, int width) {
  Tensor slice(static_cast<size_t>(rows) * width, from.dtype());
  std::memcpy(slice.data(),
              static_cast<const std::byte*>(from.data()) +
                  static_cast<size_t>(begin) * width * DTypeBytes(from.dtype()),
              static_cast<size_t>(rows) * width * DTypeBytes(from.dtype()));
  return slice;
}

class LinearTest : public testing::TestWithParam<DType> {};
INSTANTIATE_TEST_SUITE_P(Types, LinearTest, testing::Values(DType::kBF16, DType::kF32),
                         [](const auto& info) { return std::string(DTypeName(info.param)); });

TEST_P(LinearTest, MatchesReference) {
  const Stream stream(2);
  struct Shape {
    int rows, n, k;
  };
  for (const Shape shape : {Shape{0, 16, 8},
                            {1, 1, 1},
                            {1, 48, 172},
                            {3, 172, 48},
                            {2, 17, 33},
                            {7, 100, 577},
                            {8, 64, 576},
                            {16, 96, 2048},
                            {17, 80, 1027},
                            {33, 48, 8192},
                            {300, 50, 130}}) {
    const Layer layer(shape.n, shape.k, GetParam());
    const int x_stride = shape.k + 3;
    const Tensor x = Tensor::Random(static_cast<size_t>(shape.rows) * x_stride + 1, GetParam(), 5);
    const Tensor expected = layer.Run("ref", stream, x, shape.rows, x_stride, {});
    for (const std::string& isa : AvailableIsas()) {
      for (const bool with_bias : {true, false}) {
        Tensor actual = layer.Run(isa, stream, x, shape.rows, x_stride, {}, with_bias);
        for (size_t i = 0; !with_bias && i < actual.size(); ++i) {
          actual.Set(i, actual.Get(i) + layer.bias.Get(i % layer.columns()));
        }
        ExpectClose(actual, expected, kBaseBound,
                    fmt::format("{} {}x{}x{}", isa, shape.rows, shape.n, shape.k));
      }
    }
  }
}

TEST_P(LinearTest, LastElementOfOddRowIsNotReadBeyond) {
  // NaN right behind the last row's last element.
  const Stream stream(1);
  const Layer layer(32, 33, GetParam());
  Tensor x = Tensor::Random(3 * 33 + 1, GetParam(), 3);
  x.Set(3 * 33, std::nanf(""));
  const Adapter adapter(5, 32, 33, GetParam(), 9);
  for (const std::string& isa : AvailableIsas()) {
    const Tensor y = layer.Run(isa, stream, x, 3, 33, {{0, 3, adapter.pair}});
    for (size_t i = 0; i < y.size(); ++i) ASSERT_FALSE(std::isnan(y.Get(i))) << isa;
  }
}

TEST_P(LinearTest, LoraMatchesReference) {
  const Stream stream(2);
  constexpr int kRows = 97, kN = 3 * 48, kK = 160;
  const Layer layer(kN, kK, GetParam());
  const Tensor x = Tensor::Random(kRows * kK, GetParam(), 5);
  // Ragged segments, rows without an adapter (0-1, 97 is past), two adapters on rows 40-49, parts
  // of the columns, interleaved.
  const Adapter a(1, 48, kK, GetParam(), 11), b(3, kN, kK, GetParam(), 12),
      c(8, 40, kK, GetParam(), 13), d(17, 64, kK, GetParam(), 14), e(64, kN, kK, GetParam(), 15),
      f(512, kN, kK, GetParam(), 16);
  const std::vector<LoraTask> tasks = {
      {2, 3, a.pair, 0, 1},  {2, 3, c.pair, 3, 1},  {2, 3, c.pair, 6, 1},   {3, 8, b.pair, 0, 1},
      {8, 30, d.pair, 0, 2}, {8, 30, d.pair, 1, 2}, {30, 50, e.pair, 0, 1}, {40, 97, f.pair, 0, 1}};
  const Tensor expected = layer.Run("ref", stream, x, kRows, kK, tasks);
  for (const std::string& isa : AvailableIsas()) {
    ExpectClose(layer.Run(isa, stream, x, kRows, kK, tasks), expected, LoraBound(GetParam()), isa);
  }
}

// What LoRA means, on dense matrices in double: base + bias + scale * (x A^T) B^T.
TEST_P(LinearTest, ReferenceIsTheFormula) {
  const Stream stream(1);
  constexpr int kN = 20, kK = 24, kRank = 3;
  const Tensor w = Tensor::Random(kN * kK, GetParam(), 1, 0.1f),
               lora_a = Tensor::Random(kRank * kK, GetParam(), 2),
               lora_b = Tensor::Random(kN * kRank, GetParam(), 3),
               x = Tensor::Random(2 * kK, GetParam(), 4);
  Tensor packed_w(NumPanels(kN) * PanelBytes(kK, GetParam()) / DTypeBytes(GetParam()), GetParam());
  Tensor packed_b(NumPanels(kN) * PanelBytes(kRank, GetParam()) / DTypeBytes(GetParam()),
                  GetParam());
  PackRows({w.data(), GetParam(), kN, kK, packed_w.data(), GetParam()});
  PackRows({lora_b.data(), GetParam(), kN, kRank, packed_b.data(), GetParam()});
  const std::vector<LoraTask> tasks = {{1, 2, {lora_a.data(), packed_b.data(), kRank, kN, 2.0f}}};
  const auto scratch = Buffer::Allocate(LoraScratchBytes(tasks, GetParam())).value();
  Tensor y(2 * 32, DType::kF32), expected(2 * 32, DType::kF32);
  ASSERT_TRUE(SelectIsa("ref"));
  Linear(stream, {.x = x.data(),
                  .rows = 2,
                  .x_stride = kK,
                  .weight = {packed_w.data(), GetParam(), 2, kK},
                  .y = y.f32(),
                  .y_stride = 32,
                  .lora = tasks,
                  .lora_scratch = scratch.data()});
  for (int row = 0; row < 2; ++row) {
    for (int n = 0; n < kN; ++n) {
      double sum = 0;
      for (int k = 0; k < kK; ++k) sum += double{x.Get(row * kK + k)} * w.Get(n * kK + k);
      for (int rank = 0; row == 1 && rank < kRank; ++rank) {
        double shrunk = 0;
        for (int k = 0; k < kK; ++k)
          shrunk += double{x.Get(row * kK + k)} * lora_a.Get(rank * kK + k);
        sum += 2.0 * shrunk * lora_b.Get(n * kRank + rank);
      }
      expected.Set(row * 32 + n, static_cast<float>(sum));
    }
  }
  ExpectClose(y, expected, LoraBound(GetParam()), "formula");
}

// A row's bits: the same alone and in any step, at any place, on any number of threads.
TEST_P(LinearTest, RowBitsDependOnTheRowAlone) {
  for (const int k : {576, 2048, 8192}) {
    constexpr int kRows = 64, kN = 112;
    const Layer layer(kN, k, GetParam());
    const Tensor x = Tensor::Random(static_cast<size_t>(kRows) * k, GetParam(), 5);
    for (const std::string& isa : AvailableIsas()) {
      if (isa == "ref") continue;  // one loop per element, nothing to differ
      const Tensor whole = layer.Run(isa, Stream(1), x, kRows, k, {});
      for (const int num_threads : {1, 2, 3, 4}) {
        const Stream stream(num_threads);
        for (int rows = 1; rows <= kRows; rows += num_threads == 1 ? 1 : 9) {
          const int begin = (rows * 7) % (kRows - rows + 1);
          const Tensor part = layer.Run(isa, stream, Slice(x, begin, rows, k), rows, k, {});
          ASSERT_TRUE(part.SameBits(Slice(whole, begin, rows, layer.columns())))
              << isa << " k " << k << " rows " << begin << "+" << rows << " threads "
              << num_threads;
        }
      }
    }
  }
}

TEST_P(LinearTest, LoraRowBitsDoNotDependOnOtherTasks) {
  constexpr int kRows = 150, kN = 96;
  for (const int k : {48, 577, 2048}) {
    const Layer layer(kN, k, GetParam());
    const Tensor x = Tensor::Random(static_cast<size_t>(kRows) * k, GetParam(), 5);
    for (const int rank : {1, 3, 8, 17, 64, 512}) {
      const Adapter own(rank, kN, k, GetParam(), 21), other(16, kN, k, GetParam(), 22),
          third(5, 48, k, GetParam(), 23);
      for (const std::string& isa : AvailableIsas()) {
        if (isa == "ref") continue;
        const Tensor whole = layer.Run(isa, Stream(2), x, kRows, k, {{0, kRows, own.pair}});
        for (const int row : {0, 1, 37, 149}) {
          const Tensor alone =
              layer.Run(isa, Stream(1), Slice(x, row, 1, k), 1, k, {{0, 1, own.pair}});
          ASSERT_TRUE(alone.SameBits(Slice(whole, row, 1, layer.columns())))
              << isa << " k " << k << " rank " << rank;
        }
        const std::vector<LoraTask> mixed = {{0, 3, other.pair},       {3, 4, own.pair},
                                             {4, 5, third.pair, 0, 1}, {4, 5, third.pair, 3, 1},
                                             {5, 11, own.pair},        {20, 90, own.pair},
                                             {90, 150, other.pair}};
        const Tensor beside = layer.Run(isa, Stream(3), x, kRows, k, mixed);
        for (const auto rows : {Range{3, 4}, Range{5, 11}, Range{20, 90}}) {
          ASSERT_TRUE(
              Slice(beside, rows.begin, rows.end - rows.begin, layer.columns())
                  .SameBits(Slice(whole, rows.begin, rows.end - rows.begin, layer.columns())))
              << isa << " k " << k << " rank " << rank;
        }
        const Tensor base = layer.Run(isa, Stream(1), x, kRows, k, {});
        ASSERT_TRUE(
            Slice(beside, 11, 9, layer.columns()).SameBits(Slice(base, 11, 9, layer.columns())));
      }
    }
  }
}

}  // namespace
}  // namespace lorry::kernels
