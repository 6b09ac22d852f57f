#include "engine/batch_builder.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <numeric>

#include "engine/fake_step_model.h"

namespace lorry::engine {
namespace {

using ::testing::ElementsAre;

class BatchBuilderTest : public ::testing::Test {
 protected:
  // A sequence whose tokens are first_token, first_token + 1, ...
  Sequence* Add(int adapter, TokenId first_token, int num_prompt, int num_tokens,
                int num_computed) {
    auto state = std::make_unique<RequestState>();
    state->adapter_idx = adapter + 1;
    if (adapter >= 0) state->adapters = {{images_[adapter], 1, Weights(adapter)}};
    Sequence& sequence = state->sequences.emplace_back(state.get(), SequencePages(&pool_, 16, 100));
    sequence.tokens.resize(num_tokens);
    std::iota(sequence.tokens.begin(), sequence.tokens.end(), first_token);
    sequence.num_prompt = num_prompt;
    sequence.num_computed = num_computed;
    sequence.max_output = 50;
    EXPECT_TRUE(sequence.pages.Grow(num_tokens));
    running_.push_back(&sequence);
    states_.push_back(std::move(state));
    return &sequence;
  }

  const model::AdapterWeights* Weights(int adapter) const { return &*images_[adapter]->weights; }

  std::vector<std::tuple<Sequence*, int, bool>> Logits() const {
    std::vector<std::tuple<Sequence*, int, bool>> logits;
    for (const LogitRow& row : builder_.logits()) {
      logits.emplace_back(row.sequence, row.position, row.draws);
    }
    return logits;
  }

  static std::vector<std::tuple<int, int, const model::AdapterWeights*>> Segments(
      const model::ForwardBatch& batch) {
    std::vector<std::tuple<int, int, const model::AdapterWeights*>> segments;
    for (const model::AdapterSegment& segment : batch.segments) {
      segments.emplace_back(segment.row_begin, segment.row_end, segment.adapter);
    }
    return segments;
  }

  const std::array<std::shared_ptr<const adapters::AdapterImage>, 4> images_ = {
      FakeAdapter(0), FakeAdapter(1), FakeAdapter(2), FakeAdapter(3)};
  PagePool pool_ = *PagePool::Create(256, 40);
  BatchBuilder builder_{16, 8, 8, {}};
  std::vector<std::unique_ptr<RequestState>> states_;
  std::vector<Sequence*> running_;
};

TEST_F(BatchBuilderTest, TheWorkedExample) {
  Sequence* a = Add(-1, 100, 30, 41, 40);
  Sequence* b = Add(0, 200, 20, 20, 16);
  Sequence* c = Add(1, 300, 3, 8, 7);
  const std::vector<sched::Chunk> chunks = {{0, 1}, {1, 4}, {2, 1}};
  const model::ForwardBatch& batch = builder_.Build(running_, chunks);
  EXPECT_THAT(batch.tokens, ElementsAre(140, 216, 217, 218, 219, 307));
  ASSERT_EQ(batch.sequences.size(), 3u);
  EXPECT_EQ(batch.sequences[1].row_begin, 1);
  EXPECT_EQ(batch.sequences[1].num_rows, 4);
  EXPECT_EQ(batch.sequences[1].first_position, 16);
  EXPECT_EQ(batch.sequences[1].pages, b->pages.table().data());
  EXPECT_EQ(batch.sequences[2].first_position, 7);
  EXPECT_THAT(Segments(batch),
              ElementsAre(std::tuple(1, 5, Weights(0)), std::tuple(5, 6, Weights(1))));
  EXPECT_THAT(batch.logit_rows, ElementsAre(0, 4, 5));
  EXPECT_THAT(Logits(), ElementsAre(std::tuple(a, 40, true), std::tuple(b, 19, true),
                                    std::tuple(c, 7, true)));
  EXPECT_EQ(builder_.num_decode_rows(), 2);
  EXPECT_EQ(builder_.num_adapters(), 2);
}

TEST_F(BatchBuilderTest, PromptLogprobsTakeEveryRow) {
  Sequence* b = Add(-1, 200, 6, 6, 2);
  b->request->request.sampling.prompt_logprobs = true;
  b->num_prompt_logprobs = 3;
  builder_.Build(running_, std::vector<sched::Chunk>{{0, 4}});
  EXPECT_THAT(Logits(), ElementsAre(std::tuple(b, 2, false), std::tuple(b, 3, false),
                                    std::tuple(b, 4, false), std::tuple(b, 5, true)));
  // Preempted and replayed from the start: what is known is not asked for again.
  b->num_computed = 0;
  b->num_prompt_logprobs = 5;
  builder_.Build(running_, std::vector<sched::Chunk>{{0, 6}});
  EXPECT_THAT(Logits(), ElementsAre(std::tuple(b, 4, false), std::tuple(b, 5, true)));
}

TEST_F(BatchBuilderTest, AChunkThatEndsNothingHasNoLogits) {
  Add(-1, 1, 20, 20, 0);
  const model::ForwardBatch& batch = builder_.Build(running_, std::vector<sched::Chunk>{{0, 7}});
  EXPECT_TRUE(batch.logit_rows.empty());
  EXPECT_EQ(builder_.num_decode_rows(), 0);
}

TEST_F(BatchBuilderTest, SequencesOfAnAdapterShareASegment) {
  Add(3, 1, 4, 5, 4);
  Add(3, 1, 4, 4, 0);
  const model::ForwardBatch& batch =
      builder_.Build(running_, std::vector<sched::Chunk>{{0, 1}, {1, 4}});
  EXPECT_THAT(Segments(batch), ElementsAre(std::tuple(0, 5, Weights(3))));
}

TEST_F(BatchBuilderTest, ASumIsASegmentForEachOfItsAdapters) {
  Add(1, 1, 4, 5, 4);
  Add(3, 1, 4, 5, 4)->request->adapters = {{images_[1], 0.5f, Weights(1)},
                                           {images_[2], -2.f, Weights(2)}};
  Add(3, 1, 4, 4, 0)->request->adapters = running_[1]->request->adapters;
  const model::ForwardBatch& batch =
      builder_.Build(running_, std::vector<sched::Chunk>{{0, 1}, {1, 1}, {2, 4}});
  EXPECT_THAT(Segments(batch),
              ElementsAre(std::tuple(0, 1, Weights(1)), std::tuple(1, 6, Weights(1)),
                          std::tuple(1, 6, Weights(2))));
  EXPECT_EQ(batch.segments[0].weight, 1);
  EXPECT_EQ(batch.segments[1].weight, 0.5f);
  EXPECT_EQ(batch.segments[2].weight, -2);
  EXPECT_EQ(builder_.num_adapters(), 2);
}

}  // namespace
}  // namespace lorry::engine
