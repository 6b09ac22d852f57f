// What adapters do beyond LoRA on a product: weights of their own, scaled and shifted outputs, LoRA
// on embeddings, rows of tokens, DoRA's norms.
#include <gtest/gtest.h>

#include <cmath>
#include <vector>

#include "kernels/dora.h"
#include "kernels/embedding.h"
#include "kernels/kernel_testing.h"
#include "kernels/linear.h"
#include "kernels/token_rows.h"

namespace lorry::kernels {
namespace {

constexpr int kK = 96;

// A packed [n, kK] weight of random rows.
struct Weight {
  int n;
  Tensor rows, packed;

  Weight(int n, DType act, int seed, int k = kK)
      : n(n),
        rows(Tensor::Random(static_cast<size_t>(n) * k, act, seed, 0.1f)),
        packed(NumPanels(n) * PanelBytes(k, act) / DTypeBytes(act), act) {
    PackRows({rows.data(), act, n, k, packed.data(), act});
  }
  PackedMatrix matrix(int k = kK) const { return {packed.data(), packed.dtype(), NumPanels(n), k}; }
};

class AdapterRowsTest : public testing::TestWithParam<DType> {
 protected:
  void TearDown() override { EXPECT_TRUE(SelectIsa("auto")); }

  DType act() const { return GetParam(); }
  Stream stream_{2};
};
INSTANTIATE_TEST_SUITE_P(Types, AdapterRowsTest, testing::Values(DType::kBF16, DType::kF32),
                         [](const auto& info) { return std::string(DTypeName(info.param)); });

// A step of 20 rows of 80 columns: 0-2 the base's, 3-8 own panels 1 and 3 and LoRA with a scale and
// an offset everywhere, 9-18 an offset alone, twice its weight.
struct Step {
  static constexpr int kRows = 20, kN = 80;
  Tensor x;
  Weight base, own, a, b;
  Tensor scale, offset;

  explicit Step(DType act)
      : x(Tensor::Random(kRows * kK, act, 1)),
        base(kN, act, 2),
        own(32, act, 3),
        a(6, act, 4),
        b(kN, act, 5, 6),
        scale(Tensor::Random(kN, DType::kF32, 6)),
        offset(Tensor::Random(kN, DType::kF32, 7)) {}

  LoraTask Lora(int begin, int end) const {
    return {.row_begin = begin,
            .row_end = end,
            .pair = {a.rows.data(), b.packed.data(), 6, kN, 0.5f},
            .y_scale = scale.f32(),
            .y_offset = offset.f32()};
  }
  LoraTask Shift(int begin, int end) const {
    return {.row_begin = begin,
            .row_end = end,
            .pair = {.n = kN},
            .y_offset = offset.f32(),
            .offset_weight = 2};
  }

  // Rows [begin, end) of the step computed on their own.
  Tensor Run(const Stream& stream, int begin, int end, const std::vector<OwnWeight>& own_weights,
             const std::vector<LoraTask>& tasks) const {
    const DType act = x.dtype();
    Tensor y(static_cast<size_t>(end - begin) * kN, DType::kF32);
    const auto scratch = Buffer::Allocate(LoraScratchBytes(tasks, act) + 64).value();
    Linear(stream, {.x = static_cast<const std::byte*>(x.data()) + begin * kK * DTypeBytes(act),
                    .rows = end - begin,
                    .x_stride = kK,
                    .weight = base.matrix(),
                    .y = y.f32(),
                    .y_stride = kN,
                    .own = own_weights,
                    .lora = tasks,
                    .lora_scratch = scratch.data()});
    return y;
  }
  Tensor RunAll(const Stream& stream) const {
    return Run(stream, 0, kRows, {{3, 9, own.matrix(), 1, 2}}, {Lora(3, 9), Shift(9, 19)});
  }
};

TEST_P(AdapterRowsTest, OwnWeightsScalesAndOffsetsAreTheFormula) {
  const Step step(act());
  std::vector<double> expected(Step::kRows * Step::kN);
  for (int row = 0; row < Step::kRows; ++row) {
    const bool adapted = row >= 3 && row < 9;
    float shrunk[6] = {};
    for (int rank = 0; rank < 6; ++rank) {
      for (int k = 0; k < kK; ++k) {
        shrunk[rank] += step.x.Get(row * kK + k) * step.a.rows.Get(rank * kK + k);
      }
      shrunk[rank] *= 0.5f;
      if (act() == DType::kBF16) shrunk[rank] = ToFloat(ToBFloat16(shrunk[rank]));
    }
    for (int column = 0; column < Step::kN; ++column) {
      const int panel = column / kPanel;
      const bool own = adapted && panel % 2 == 1;
      const int own_row = panel / 2 * kPanel + column % kPanel;
      double y = 0;
      for (int k = 0; k < kK; ++k) {
        const Tensor& rows = own ? step.own.rows : step.base.rows;
        y += static_cast<double>(step.x.Get(row * kK + k)) *
             rows.Get((own ? own_row : column) * kK + k);
      }
      if (adapted) {
        for (int rank = 0; rank < 6; ++rank) y += shrunk[rank] * step.b.rows.Get(column * 6 + rank);
        y = y * step.scale.Get(column) + step.offset.Get(column);
      } else if (row >= 9 && row < 19) {
        y += 2 * step.offset.Get(column);
      }
      expected[row * Step::kN + column] = y;
    }
  }
  for (const std::string& isa : AvailableIsas()) {
    ASSERT_TRUE(SelectIsa(isa));
    const Tensor y = step.RunAll(stream_);
    for (size_t i = 0; i < expected.size(); ++i) {
      // A shrunk row may round to either side in bf16.
      ASSERT_NEAR(y.Get(i), expected[i], act() == DType::kBF16 ? 2e-2 : 2e-5) << isa << " " << i;
    }
  }
}

TEST_P(AdapterRowsTest, BitsDependOnTheRowAlone) {
  const Step step(act());
  for (const std::string& isa : AvailableIsas()) {
    ASSERT_TRUE(SelectIsa(isa));
    const Tensor all = step.RunAll(stream_);
    const Tensor plain = step.Run(stream_, 0, Step::kRows, {}, {});
    for (int row = 0; row < Step::kRows; ++row) {
      std::vector<OwnWeight> own;
      std::vector<LoraTask> tasks;
      if (row >= 3 && row < 9) {
        own = {{0, 1, step.own.matrix(), 1, 2}};
        tasks = {step.Lora(0, 1)};
      } else if (row >= 9 && row < 19) {
        tasks = {step.Shift(0, 1)};
      }
      const Tensor alone = step.Run(stream_, row, row + 1, own, tasks);
      const size_t row_bytes = Step::kN * sizeof(float);
      ASSERT_EQ(std::memcmp(alone.data(), all.f32() + row * Step::kN, row_bytes), 0)
          << isa << " row " << row;
      if (row < 3) {
        ASSERT_EQ(std::memcmp(plain.f32() + row * Step::kN, alone.data(), row_bytes), 0) << isa;
      }
    }
  }
}

TEST_P(AdapterRowsTest, LoraOnTheEmbedding) {
  constexpr int kHidden = 40, kRank = 5, kVocab = 9;
  const Tensor a = Tensor::Random(kVocab * kRank, act(), 1);
  const Weight b(kHidden, act(), 2, kRank);
  const Tensor scale = Tensor::Random(48, DType::kF32, 3);
  const std::vector<TokenId> tokens = {4, 8, 0, 4, 7, 1};
  Tensor out = Tensor::Random(tokens.size() * kHidden, DType::kF32, 4);
  const Tensor before = Tensor::Random(tokens.size() * kHidden, DType::kF32, 4);
  EmbeddingLora(
      stream_,
      {tokens, {a.data(), b.packed.data(), kRank, kHidden, 1.5f}, act(), scale.f32(), out.f32()});
  for (size_t row = 0; row < tokens.size(); ++row) {
    for (int i = 0; i < kHidden; ++i) {
      double delta = 0;
      for (int rank = 0; rank < kRank; ++rank) {
        delta +=
            static_cast<double>(a.Get(tokens[row] * kRank + rank)) * b.rows.Get(i * kRank + rank);
      }
      const size_t at = row * kHidden + i;
      EXPECT_NEAR(out.Get(at), (before.Get(at) + 1.5 * delta) * scale.Get(i), 1e-5);
    }
  }
}

TEST_P(AdapterRowsTest, RowsOfTokens) {
  constexpr int kHidden = 72, kStride = 16;
  const std::vector<int32_t> ids = {2, 3, 11};
  const Tensor rows = Tensor::Random(ids.size() * kHidden, act(), 1);
  const TokenTable table{ids.data(), rows.data(), 3};

  const std::vector<TokenId> tokens = {3, 0, 11, 12, 2};
  Tensor out = Tensor::Random(tokens.size() * kHidden, DType::kF32, 2);
  const Tensor before = Tensor::Random(tokens.size() * kHidden, DType::kF32, 2);
  TokenEmbedding({tokens, table, act(), kHidden, out.f32()});
  const std::vector<int> found = {1, -1, 2, -1, 0};
  for (size_t row = 0; row < tokens.size(); ++row) {
    for (int i = 0; i < kHidden; ++i) {
      EXPECT_EQ(out.Get(row * kHidden + i), found[row] < 0 ? before.Get(row * kHidden + i)
                                                           : rows.Get(found[row] * kHidden + i));
    }
  }

  const Tensor x = Tensor::Random(7 * kHidden, act(), 3);
  Tensor y(7 * kStride, DType::kF32);
  for (size_t i = 0; i < y.size(); ++i) y.Set(i, 100);
  TokenLogits(stream_, {x.data(), 7, table, act(), kHidden, y.f32(), kStride});
  for (int row = 0; row < 7; ++row) {
    for (int column = 0; column < kStride; ++column) {
      const auto id = std::find(ids.begin(), ids.end(), column);
      double expected = id == ids.end() ? 100 : 0;
      for (int i = 0; i < kHidden && id != ids.end(); ++i) {
        expected += static_cast<double>(x.Get(row * kHidden + i)) *
                    rows.Get((id - ids.begin()) * kHidden + i);
      }
      EXPECT_NEAR(y.Get(row * kStride + column), expected, 1e-4);
    }
  }
}

TEST(DoraNormsTest, AreThoseOfTheSum) {
  constexpr int kN = 7, kColumns = 33, kRank = 3;
  const Tensor w = Tensor::Random(kN * kColumns, DType::kF32, 1);
  const Tensor b = Tensor::Random(kN * kRank, DType::kF32, 2);
  const Tensor a = Tensor::Random(kRank * kColumns, DType::kF32, 3);
  const DeltaRows rows{w.f32(), b.f32(), a.f32(), kN, kColumns, kRank};
  std::vector<float> norms(kN);
  std::vector<double> squares(kColumns), expected_squares(kColumns);
  RowNorms(rows, norms.data());
  AddColumnSquares(rows, squares.data());
  AddColumnSquares(rows, squares.data());  // adds
  for (int i = 0; i < kN; ++i) {
    double sum = 0;
    for (int j = 0; j < kColumns; ++j) {
      double value = w.Get(i * kColumns + j);
      for (int rank = 0; rank < kRank; ++rank) {
        value += static_cast<double>(b.Get(i * kRank + rank)) * a.Get(rank * kColumns + j);
      }
      sum += value * value;
      expected_squares[j] += 2 * value * value;
    }
    EXPECT_NEAR(norms[i], std::sqrt(sum), 1e-5 * std::sqrt(sum));
  }
  for (int j = 0; j < kColumns; ++j) {
    EXPECT_NEAR(squares[j], expected_squares[j], 1e-5 * expected_squares[j]);
  }
}

}  // namespace
}  // namespace lorry::kernels
