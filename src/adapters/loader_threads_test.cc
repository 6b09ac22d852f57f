#include "adapters/loader_threads.h"

#include <fmt/format.h>
#include <gmock/gmock.h>

#include <future>
#include <mutex>

namespace lorry::adapters {
namespace {

// Plays the catalogue: its thread is the test's.
class LoaderThreadsTest : public ::testing::Test {
 protected:
  void Start(int num_threads) {
    threads_ = std::make_unique<LoaderThreads>("test", num_threads,
                                               [this](int idx) { idle_.SendAlways(int{idx}); });
  }
  // Until `count` jobs have been done.
  void DispatchUntilDone(int count) {
    std::vector<int> idle;
    while (count > 0) {
      idle_.WaitFor(std::chrono::seconds(20));
      idle_.Drain(idle);
      ASSERT_FALSE(idle.empty()) << "no job was done in 20 s";
      for (const int idx : idle) threads_->Dispatch(idx);
      count -= static_cast<int>(idle.size());
    }
  }
  uint64_t Add(const std::string& name, bool is_urgent) {
    return threads_->Add(
        [this, name] {
          const std::lock_guard lock(mutex_);
          done_.push_back(name);
        },
        is_urgent);
  }

  Mailbox<int> idle_{SIZE_MAX};
  std::mutex mutex_;
  std::vector<std::string> done_;
  std::unique_ptr<LoaderThreads> threads_;
};

TEST_F(LoaderThreadsTest, WhatIsUrgentGoesFirstTheRestInItsOrder) {
  Start(1);
  std::promise<void> go;
  threads_->Add([&go] { go.get_future().wait(); }, false);
  Add("a", false);
  const uint64_t b = Add("b", false);
  Add("c", true);
  Add("d", true);
  threads_->Promote(b);
  threads_->Promote(b);    // is urgent already
  threads_->Promote(999);  // was never there
  go.set_value();
  DispatchUntilDone(5);
  EXPECT_THAT(done_, ::testing::ElementsAre("c", "d", "b", "a"));
}

TEST_F(LoaderThreadsTest, NoMoreAtOnceThanThreads) {
  Start(3);
  std::atomic<int> running = 0, most = 0;
  for (int i = 0; i < 30; ++i) {
    threads_->Add(
        [&] {
          const int now = ++running;
          for (int seen = most; seen < now && !most.compare_exchange_weak(seen, now);) {
          }
          std::this_thread::sleep_for(std::chrono::milliseconds(1));
          --running;
        },
        i % 2 == 0);
  }
  DispatchUntilDone(30);
  EXPECT_LE(most, 3);
  EXPECT_GE(most, 2);
}

// A job that runs until it is let go.
class Held {
 public:
  LoaderThreads::Job Job() {
    return [this] {
      ++num_running;
      go_.wait();
      --num_running;
    };
  }
  void Go() { promise_.set_value(); }
  bool Runs(int count) const {
    for (int i = 0; i < 2'000 && num_running != count; ++i) {
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
    return num_running == count;
  }
  std::atomic<int> num_running = 0;

 private:
  std::promise<void> promise_;
  std::shared_future<void> go_ = promise_.get_future().share();
};

TEST_F(LoaderThreadsTest, AGroupLeavesThreadsToTheOthers) {
  Start(4);
  Held held;
  for (int i = 0; i < 10; ++i) threads_->Add(held.Job(), i % 2 == 0, "slow.example");
  EXPECT_TRUE(held.Runs(3));
  Add("other", false);  // of no group, and the last to come
  DispatchUntilDone(1);
  EXPECT_THAT(done_, ::testing::ElementsAre("other"));
  EXPECT_EQ(held.num_running, 3);
  held.Go();
  DispatchUntilDone(10);
}

TEST_F(LoaderThreadsTest, SlowJobsHoldNoneUpWhosoeverTheyAre) {
  Start(2);
  Held held;
  const uint64_t a = threads_->Add(held.Job(), false, "a.example");
  const uint64_t b = threads_->Add(held.Job(), false, "b.example");
  EXPECT_TRUE(held.Runs(2));
  Add("c", false);
  Add("d", true);
  threads_->MarkSlow(a);
  DispatchUntilDone(2);
  EXPECT_THAT(done_, ::testing::ElementsAre("d", "c"));
  threads_->MarkSlow(b);
  threads_->MarkSlow(999);  // was never there
  // As many slow ones as there are threads for, of one group as many as do without them.
  for (int i = 0; i < 20; ++i) {
    const uint64_t more = threads_->Add(held.Job(), false, "a.example");
    threads_->MarkSlow(more);
  }
  EXPECT_TRUE(held.Runs(3));
  Add("e", false);
  DispatchUntilDone(1);
  held.Go();
  DispatchUntilDone(22);
}

TEST_F(LoaderThreadsTest, ThereAreBoundedManySlowOnes) {
  Start(2);
  Held held;
  for (int i = 0; i < 50; ++i) {
    threads_->MarkSlow(threads_->Add(held.Job(), false, fmt::format("host{}.example", i)));
  }
  EXPECT_TRUE(held.Runs(8));
  held.Go();
  DispatchUntilDone(50);
}

TEST_F(LoaderThreadsTest, StopWaitsForWhatRunsAndDropsTheRest) {
  Start(2);
  std::atomic<int> begun = 0, ended = 0;
  const auto kept = std::make_shared<int>();
  for (int i = 0; i < 10; ++i) {
    threads_->Add(
        [&begun, &ended, kept] {
          ++begun;
          std::this_thread::sleep_for(std::chrono::milliseconds(20));
          ++ended;
        },
        false);
  }
  while (begun < 2) std::this_thread::yield();
  threads_->Stop();
  EXPECT_EQ(begun, 2);
  EXPECT_EQ(ended, 2);
  threads_.reset();
  EXPECT_EQ(kept.use_count(), 1);  // dropped jobs hold nothing
}

}  // namespace
}  // namespace lorry::adapters
