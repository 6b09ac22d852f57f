// Requests that wait, are refused or end early, and the end of the engine itself.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <ctime>
#include <thread>
#include <vector>

#include "engine/engine_testing.h"

namespace lorry::engine {
namespace {

using std::chrono::milliseconds;
using ::testing::HasSubstr;

TEST_F(EngineTest, AFullQueueRefuses) {
  Start();
  CloseGate();
  std::vector<std::shared_ptr<Collector>> sinks = {Submit(Request(4, 4))};
  while (engine_->Submit(Request(4, 4), std::make_shared<Collector>()).has_value()) continue;
  const Error error = Refusal(Request(4, 4));
  EXPECT_EQ(error.code, ErrorCode::kResourceExhausted);
  EXPECT_THAT(error.message, HasSubstr("10"));
  OpenGate();
  sinks[0]->Get();
  // There is room again once the others have started.
  const auto sink = std::make_shared<Collector>();
  while (!engine_->Submit(Request(4, 4), sink).has_value()) std::this_thread::yield();
  EXPECT_EQ(sink->Get().tokens.size(), 4u);
}

TEST_F(EngineTest, CancelBeforeTheFirstToken) {
  Start();
  CloseGate();
  const auto running = Submit(Request(100, 4));  // its prompt takes several steps
  AwaitStepAtGate();                             // so the other is in none of them yet
  GenerateRequest waiting_request = Request(4, 4);
  const auto waiting = Submit(waiting_request);
  engine_->Cancel(RequestId{1});
  engine_->Cancel(waiting_request.id);
  OpenGate();
  for (const auto& sink : {running, waiting}) {
    EXPECT_EQ(sink->Get().finish, FinishReason::kCancelled);
    EXPECT_TRUE(sink->Get().tokens.empty());
  }
  Submit(Request(3, 3))->Get();
  engine_->Stop(milliseconds(0));
  EXPECT_EQ(engine_->stats().kv_pages_used, 0);
}

TEST_F(EngineTest, ARequestWaitsUntilItsLastSequenceBegins) {
  EngineOptions options = SmallEngine();
  options.max_num_seqs = 1;
  Start(options);
  CloseGate();
  GenerateRequest two = Request(4, 2), cancelled = Request(4, 2);
  two.num_sequences = 2;
  two.waiting = std::make_shared<WaitingRequest>();
  cancelled.waiting = std::make_shared<WaitingRequest>();
  const std::weak_ptr<WaitingRequest> first = two.waiting, second = cancelled.waiting;
  const auto two_sink = Submit(two), cancelled_sink = Submit(cancelled);
  two.waiting.reset();
  cancelled.waiting.reset();
  LetSteps(1);
  EXPECT_FALSE(first.expired()) << "one of its sequences has begun";
  EXPECT_FALSE(second.expired());
  engine_->Cancel(cancelled.id);
  OpenGate();
  EXPECT_EQ(cancelled_sink->Get().finish, FinishReason::kCancelled);
  EXPECT_TRUE(second.expired());
  EXPECT_EQ(two_sink->Answers().at(1).finish, FinishReason::kLength);
  EXPECT_TRUE(first.expired());
}

TEST_F(EngineTest, CancelAfterTheFirstToken) {
  Start();
  CloseGate();
  const auto sink = Submit(Request(4, 200));
  LetSteps(3);
  sink->WaitForTokens(2);
  engine_->Cancel(RequestId{1});
  OpenGate();
  const Answer answer = sink->Get();
  EXPECT_EQ(answer.finish, FinishReason::kCancelled);
  EXPECT_GE(answer.tokens.size(), 2u);
  EXPECT_LE(answer.tokens.size(), 5u);
  engine_->Cancel(RequestId{1});     // ended
  engine_->Cancel(RequestId{4711});  // never seen
  EXPECT_EQ(Submit(Request(3, 3))->Get().tokens.size(), 3u);
}

TEST_F(EngineTest, CancelOneSequenceOfARequest) {
  Start();
  CloseGate();
  GenerateRequest request = Request(4, 12);
  request.num_sequences = 3;
  const auto sink = Submit(request);
  engine_->Cancel(request.id, 1);
  OpenGate();
  const std::vector<Answer> answers = sink->Answers();
  EXPECT_EQ(answers[0].finish, FinishReason::kLength);
  EXPECT_EQ(answers[1].finish, FinishReason::kCancelled);
  EXPECT_EQ(answers[2].finish, FinishReason::kLength);
}

TEST_F(EngineTest, StopLetsTheOthersFinish) {
  Start();
  std::vector<std::shared_ptr<Collector>> sinks;
  for (int i = 0; i < 6; ++i) sinks.push_back(Submit(Request(30, 100)));
  engine_->Stop(std::chrono::minutes(1));
  for (const auto& sink : sinks) EXPECT_EQ(sink->Get().finish, FinishReason::kLength);
  EXPECT_EQ(Refusal(Request(3, 3)).code, ErrorCode::kUnavailable);
  engine_->Cancel(RequestId{1});
  engine_->Stop(milliseconds(0));
}

TEST_F(EngineTest, StopCancelsWhatTakesTooLong) {
  Start();
  CloseGate();
  const auto running = Submit(Request(4, 200));
  const auto waiting = Submit(Request(200, 4));
  LetSteps(2);
  running->WaitForTokens(1);
  std::thread stopper([this] { engine_->Stop(milliseconds(1)); });
  std::this_thread::sleep_for(milliseconds(5));
  OpenGate();
  stopper.join();
  EXPECT_EQ(running->Get().finish, FinishReason::kCancelled);
  EXPECT_EQ(waiting->Get().finish, FinishReason::kCancelled);
}

TEST_F(EngineTest, ASecondStopShortensTheFirst) {
  Start();
  CloseGate();
  const auto sink = Submit(Request(4, 200));
  LetSteps(2);
  sink->WaitForTokens(1);
  std::thread first([this] { engine_->Stop(std::chrono::hours(1)); });
  const auto is_stopping = [this] {
    const Status status = engine_->Submit(Request(1, 1), std::make_shared<Collector>());
    return !status && status.error().code == ErrorCode::kUnavailable;
  };
  while (!is_stopping()) std::this_thread::sleep_for(milliseconds(1));
  std::thread second([this] { engine_->Stop(milliseconds(0)); });
  std::this_thread::sleep_for(milliseconds(5));
  OpenGate();
  second.join();
  first.join();
  EXPECT_EQ(sink->Get().finish, FinishReason::kCancelled);
}

TEST_F(EngineTest, DestructionCancels) {
  Start();
  CloseGate();
  const auto sink = Submit(Request(4, 200));
  OpenGate();
  engine_.reset();
  EXPECT_TRUE(sink->is_finished());
}

TEST_F(EngineTest, AnIdleEngineSleeps) {
  Start();
  Submit(Request(3, 3))->Get();
  std::this_thread::sleep_for(milliseconds(50));  // compute threads spin for a moment
  const std::clock_t before = std::clock();       // of all threads
  std::this_thread::sleep_for(milliseconds(300));
  EXPECT_LT(std::clock() - before, CLOCKS_PER_SEC / 10);
}

TEST_F(EngineTest, ManyThreadsSubmitAndCancel) {
  EngineOptions options = SmallEngine();
  options.max_waiting = 1000;
  Start(options);
  std::atomic<uint64_t> next_id = 1;
  std::atomic<int> num_finished = 0;
  const auto client = [&](int number) {
    for (int i = 0; i < 40; ++i) {
      GenerateRequest request;
      request.id = RequestId{next_id++};
      request.prompt.assign(1 + (i * 13 + number) % 60, number);
      request.num_sequences = 1 + i % 3;
      request.sampling.max_tokens = 1 + i % 20;
      if (i % 2 == 0) request.adapters = {{.handle = FakeAdapter(i % 5)}};
      const auto sink = std::make_shared<Collector>(request.num_sequences);
      if (!engine_->Submit(request, sink)) continue;
      if (i % 4 == 0) engine_->Cancel(request.id, i % 8 == 0 ? -1 : 0);
      engine_->stats();
      for (const Answer& answer : sink->Answers()) num_finished += answer.finish.has_value();
    }
  };
  std::vector<std::thread> clients;
  for (int i = 0; i < 4; ++i) clients.emplace_back(client, i);
  for (std::thread& thread : clients) thread.join();
  EXPECT_EQ(num_finished, 4 * (14 * 1 + 13 * 2 + 13 * 3));
  engine_->Stop(std::chrono::minutes(1));
  EXPECT_EQ(engine_->stats().kv_pages_used, 0);
}

}  // namespace
}  // namespace lorry::engine
