#include "kernels/attention.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <limits>
#include <vector>

#include "kernels/kernel_testing.h"
#include "kernels/rope.h"

namespace lorry::kernels {
namespace {

struct Shape {
  int num_heads, num_kv_heads, head_dim, page_tokens;
};

// A sequence of `length` tokens with random q, k, v, run through RopeAndStoreKv and PagedAttention
// in chunks.
class Sequence {
 public:
  Sequence(const Shape& shape, DType act, int length, int seed)
      : shape_(shape),
        act_(act),
        length_(length),
        qkv_(Tensor::Random(static_cast<size_t>(length) * width(), DType::kF32, seed)),
        cos_(static_cast<size_t>(length) * shape.head_dim / 2, DType::kF32),
        sin_(static_cast<size_t>(length) * shape.head_dim / 2, DType::kF32) {
    for (int i = 0; i < length * shape.head_dim / 2; ++i) {
      const double angle = i / (shape.head_dim / 2) *
                           std::pow(10000.0, -2.0 * (i % (shape.head_dim / 2)) / shape.head_dim);
      cos_.Set(i, static_cast<float>(std::cos(angle)));
      sin_.Set(i, static_cast<float>(std::sin(angle)));
    }
  }
  int width() const { return (shape_.num_heads + 2 * shape_.num_kv_heads) * shape_.head_dim; }
  int out_width() const { return shape_.num_heads * shape_.head_dim; }
  const Tensor& qkv() const { return qkv_; }

  // The attention output [length, num_heads * head_dim] after steps of the given sizes (the last
  // one repeats). The arena is filled with NaN first, pages are handed out in a scattered order,
  // and another sequence shares each step.
  Tensor Run(const std::string& isa, const Stream& stream, std::vector<int> chunks) const {
    EXPECT_TRUE(SelectIsa(isa));
    const KvLayout layout{2, shape_.num_kv_heads, shape_.head_dim, shape_.page_tokens, act_};
    const int num_pages = (length_ + shape_.page_tokens - 1) / shape_.page_tokens;
    Tensor arena(layout.PageBytes() / DTypeBytes(act_) * (num_pages + 2), act_);
    std::memset(arena.data(), 0xff, arena.size() * DTypeBytes(act_));
    std::vector<int32_t> pages(num_pages);
    for (int i = 0; i < num_pages; ++i) pages[i] = 2 + (i * 7 + 3) % num_pages;
    if (num_pages % 7 == 0) {
      for (int i = 0; i < num_pages; ++i) pages[i] = 1 + num_pages - i;
    }
    const int32_t neighbour_page = 1;

    Tensor out(static_cast<size_t>(length_) * out_width(), act_);
    for (int position = 0, step = 0; position < length_; ++step) {
      const int rows =
          std::min(chunks[std::min<size_t>(step, chunks.size() - 1)], length_ - position);
      // The neighbour: one row at position 0, before ours.
      const std::vector<SequenceRows> sequences = {{0, 1, 0, &neighbour_page},
                                                   {1, rows, position, pages.data()}};
      Tensor inputs(static_cast<size_t>(1 + rows) * width(), DType::kF32);
      std::memcpy(inputs.f32() + width(), qkv_.f32() + static_cast<size_t>(position) * width(),
                  static_cast<size_t>(rows) * width() * 4);
      Tensor q(static_cast<size_t>(1 + rows) * out_width(), act_), step_out(q.size(), act_);
      const KvView kv{static_cast<std::byte*>(arena.data()), layout};
      RopeAndStoreKv(stream, {.qkv = inputs.f32(),
                              .qkv_stride = width(),
                              .k_column = out_width(),
                              .v_column = out_width() + shape_.num_kv_heads * shape_.head_dim,
                              .num_heads = shape_.num_heads,
                              .cos = cos_.f32(),
                              .sin = sin_.f32(),
                              .sequences = sequences,
                              .layer = 1,
                              .kv = kv,
                              .q = q.data()});
      PagedAttention(stream, {.q = q.data(),
                              .num_heads = shape_.num_heads,
                              .scale = 1 / std::sqrt(static_cast<float>(shape_.head_dim)),
                              .sequences = sequences,
                              .layer = 1,
                              .kv = kv,
                              .out = step_out.data()});
      std::memcpy(static_cast<std::byte*>(out.data()) +
                      static_cast<size_t>(position) * out_width() * DTypeBytes(act_),
                  static_cast<std::byte*>(step_out.data()) + out_width() * DTypeBytes(act_),
                  static_cast<size_t>(rows) * out_width() * DTypeBytes(act_));
      position += rows;
    }
    return out;
  }

  // The definition, in double, on the rounded q, k and v.
  Tensor Formula() const {
    Tensor out(static_cast<size_t>(length_) * out_width(), act_);
    const int group = shape_.num_heads / shape_.num_kv_heads;
    for (int row = 0; row < length_; ++row) {
      for (int head = 0; head < shape_.num_heads; ++head) {
        std::vector<double> weights(row + 1);
        const int kv_head = head / group;
        for (int token = 0; token <= row; ++token) {
          double& score = weights[token];
          for (int dim = 0; dim < shape_.head_dim; ++dim) {
            score += Rotated(row, head, dim) * Rotated(token, shape_.num_heads + kv_head, dim);
          }
          score /= std::sqrt(shape_.head_dim);
        }
        const double max = *std::max_element(weights.begin(), weights.end());
        double sum = 0;
        for (double& weight : weights) sum += weight = std::exp(weight - max);
        for (int dim = 0; dim < shape_.head_dim; ++dim) {
          double value = 0;
          for (int token = 0; token <= row; ++token) {
            value += weights[token] *
                     Rounded(Input(token, shape_.num_heads + shape_.num_kv_heads + kv_head, dim));
          }
          out.Set((static_cast<size_t>(row) * shape_.num_heads + head) * shape_.head_dim + dim,
                  static_cast<float>(value / sum));
        }
      }
    }
    return out;
  }

 private:
  float Input(int row, int head, int dim) const {
    return qkv_.Get(static_cast<size_t>(row) * width() + head * shape_.head_dim + dim);
  }
  float Rounded(float value) const {
    return act_ == DType::kF32 ? value : ToFloat(ToBFloat16(value));
  }
  double Rotated(int row, int head, int dim) const {
    const int half = shape_.head_dim / 2, i = dim % half;
    const float cos = cos_.Get(row * half + i), sin = sin_.Get(row * half + i);
    const float lower = Input(row, head, i), upper = Input(row, head, i + half);
    return Rounded(dim < half ? lower * cos - upper * sin : upper * cos + lower * sin);
  }

  Shape shape_;
  DType act_;
  int length_;
  Tensor qkv_, cos_, sin_;
};

// f32: roundings along chains of some hundred terms. bf16: the output's own rounding (2^-9,
// uniform: 1.1e-3 rms), that of the probabilities, and in q and k ties that fall either way.
constexpr double Bound(DType act) { return act == DType::kF32 ? 5e-6 : 4e-3; }

class AttentionTest : public testing::TestWithParam<DType> {};
INSTANTIATE_TEST_SUITE_P(Types, AttentionTest, testing::Values(DType::kBF16, DType::kF32),
                         [](const auto& info) { return std::string(DTypeName(info.param)); });

TEST_P(AttentionTest, MatchesTheFormula) {
  const Stream stream(2);
  for (const Shape shape : {Shape{4, 2, 8, 16},
                            {3, 3, 10, 16},
                            {9, 3, 64, 16},
                            {4, 1, 80, 32},
                            {2, 2, 128, 16},
                            {12, 1, 16, 64},
                            {2, 1, 2, 16},
                            {1, 1, 512, 16},
                            {6, 2, 40, 16}}) {
    for (const int length : {1, 2, 15, 16, 17, 64, 65, 150}) {
      const Sequence sequence(shape, GetParam(), length, 3);
      const Tensor expected = sequence.Formula();
      for (const std::string& isa : AvailableIsas()) {
        ExpectClose(sequence.Run(isa, stream, {length}), expected, Bound(GetParam()),
                    fmt::format("{} {} of {} heads of {}, {} tokens", isa, shape.num_heads,
                                shape.num_kv_heads, shape.head_dim, length));
      }
    }
  }
}

// Also what a preempted sequence needs: decoded tokens replayed as a prompt.
TEST_P(AttentionTest, BitsDoNotDependOnTheChunks) {
  for (const Shape shape :
       {Shape{9, 3, 64, 16}, {32, 8, 64, 16}, {4, 2, 10, 32}, {12, 1, 80, 16}, {2, 2, 128, 16}}) {
    constexpr int kLength = 203;
    const Sequence sequence(shape, GetParam(), kLength, 7);
    for (const std::string& isa : AvailableIsas()) {
      if (isa == "ref") continue;
      const Tensor whole = sequence.Run(isa, Stream(1), {kLength});
      for (const std::vector<int>& chunks : std::vector<std::vector<int>>{
               {1}, {2}, {7}, {16}, {33}, {64, 1}, {100, 3}, {1, 63, 65, 5}, {202, 1}}) {
        for (const int num_threads : {1, 3}) {
          ASSERT_TRUE(sequence.Run(isa, Stream(num_threads), chunks).SameBits(whole))
              << isa << " first chunk " << chunks[0] << " threads " << num_threads;
        }
      }
    }
  }
}

TEST_P(AttentionTest, LargeScoresDoNotOverflow) {
  const Shape shape{2, 1, 16, 16};
  const Sequence sequence(shape, GetParam(), 100, 3);
  Tensor& qkv = const_cast<Tensor&>(sequence.qkv());
  for (size_t i = 0; i < qkv.size(); ++i) qkv.Set(i, 30 * qkv.Get(i));
  const Tensor expected = sequence.Formula();
  for (const std::string& isa : AvailableIsas()) {
    ExpectClose(sequence.Run(isa, Stream(1), {100}), expected, 4 * Bound(GetParam()), isa);
  }
}

TEST(Attention, NoRowsIsNothing) {
  const Stream stream(2);
  std::byte arena[1] = {};
  for (const std::string& isa : AvailableIsas()) {
    ASSERT_TRUE(SelectIsa(isa));
    PagedAttention(stream,
                   {.num_heads = 2, .scale = 1, .kv = {arena, {1, 1, 8, 16, DType::kBF16}}});
    RopeAndStoreKv(stream, {.num_heads = 2, .kv = {arena, {1, 1, 8, 16, DType::kBF16}}});
  }
}

}  // namespace
}  // namespace lorry::kernels
