// Requests of many sequences beside others: what each gets of slots, pages and the line.
#include <gtest/gtest.h>

#include <vector>

#include "engine/engine_testing.h"

namespace lorry::engine {
namespace {

class EngineTurnsTest : public EngineTest {
 protected:
  // A client's request of `num_prompts` prompts, each `n` times.
  std::vector<std::shared_ptr<Collector>> SubmitLarge(int num_prompts, int n, int max_tokens) {
    std::vector<std::shared_ptr<Collector>> sinks;
    const RequestId first = {last_id_ + 1};
    for (int i = 0; i < num_prompts; ++i) {
      GenerateRequest request = Request(4, max_tokens);
      request.part_of = first;
      request.num_sequences = n;
      sinks.push_back(Submit(request));
    }
    return sinks;
  }

  // A request that comes beside `large` has its token with the first step that is planned after it,
  // and is not the only one who gets on.
  void ExpectNewcomerIsAtHome(const std::vector<std::shared_ptr<Collector>>& large,
                              int max_tokens) {
    AwaitStepAtGate();
    AwaitSteps(20);
    const auto newcomer = Submit(Request(10, 1));
    AwaitSteps(2);  // one was planned before it came
    EXPECT_TRUE(newcomer->is_finished());
    OpenGate();
    EXPECT_EQ(newcomer->Get().tokens.size(), 1u);
    const std::vector<TokenId> expected = Expected(Request(4, 1).prompt, max_tokens);
    for (const auto& sink : large) {
      for (const Answer& answer : sink->Answers()) ASSERT_EQ(answer.tokens, expected);
    }
  }
};

TEST_F(EngineTurnsTest, ANewcomerFindsASlotBesideAThousandSequences) {
  EngineOptions options = SmallEngine();
  options.max_waiting = 2048;
  Start(options);
  CloseGate();
  ExpectNewcomerIsAtHome(SubmitLarge(8, 128, 7), 7);
}

TEST_F(EngineTurnsTest, ANewcomerFindsPagesBesideManySequences) {
  EngineOptions options = SmallEngine();
  options.max_num_seqs = 24;
  options.max_waiting = 2048;
  Start(options);  // 40 pages, 4 for each of the sequences
  CloseGate();
  ExpectNewcomerIsAtHome(SubmitLarge(2, 30, 60), 60);
}

// 4 slots, one of them for newcomers: 3 sequences of the first, then each of the others in turn.
TEST_F(EngineTurnsTest, RequestsTakeTurns) {
  EngineOptions options = SmallEngine();
  options.max_num_seqs = 4;
  options.max_waiting = 100;
  Start(options);
  CloseGate();
  const auto first = SubmitLarge(1, 12, 30);
  AwaitStepAtGate();
  const auto second = SubmitLarge(1, 12, 30);
  AwaitSteps(3);
  EXPECT_EQ(engine_->stats().num_running, 4);
  const auto third = SubmitLarge(1, 1, 30);
  AwaitSteps(65);  // the first three have ended together after 30, the third's one after 60
  EXPECT_TRUE(third[0]->is_finished());
  EXPECT_FALSE(first[0]->is_finished());
  EXPECT_FALSE(second[0]->is_finished());
  OpenGate();
}

}  // namespace
}  // namespace lorry::engine
