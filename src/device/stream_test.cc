#include "device/stream.h"

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <thread>
#include <vector>

namespace lorry {
namespace {

TEST(Stream, RunsEachItemOnce) {
  for (int num_threads : {1, 2, 4, 7}) {
    const Stream stream(num_threads);
    EXPECT_EQ(stream.num_threads(), num_threads);
    for (int num_items : {0, 1, 2, 3, 64, 1000}) {
      std::vector<int> runs(num_items, 0);
      stream.ParallelFor(num_items, [&](int item_idx, int thread_idx) {
        EXPECT_LT(thread_idx, num_threads);
        ++runs[item_idx];
      });
      for (int count : runs) EXPECT_EQ(count, 1);
    }
  }
}

TEST(Stream, RegionSeesWhatTheOneBeforeWrote) {
  const Stream stream(3);
  std::vector<int> values(32, 0);
  for (int round = 1; round <= 3000; ++round) {
    stream.ParallelFor(
        32, [&](int item_idx, int) { values[item_idx] += values[item_idx] + 1 - round; });
    // Neighbours are written by other threads than the one that reads them now.
    stream.ParallelFor(
        16, [&](int item_idx, int) { EXPECT_EQ(values[item_idx], values[31 - item_idx]); });
    stream.ParallelFor(32, [&](int item_idx, int) { values[item_idx] = round; });
  }
}

TEST(Stream, WakesSleepersAndSpreadsWork) {
  const Stream stream(2);
  for (int round = 0; round < 5; ++round) {
    std::this_thread::sleep_for(std::chrono::milliseconds(3));  // the worker sleeps by now
    std::atomic<int> helped{0};
    // The caller stays in its item until the worker has taken the other one.
    stream.ParallelFor(2, [&](int, int thread_idx) {
      if (thread_idx == 1) helped.fetch_add(1);
      while (helped.load() == 0) std::this_thread::yield();
    });
    EXPECT_GE(helped.load(),
              1);  // 2: the machine gave the caller no time, and the worker took both
  }
}

// A worker that the machine stops between any two of its steps must still hear of the end.
TEST(Stream, EndsWhateverItsWorkersWereDoing) {
  for (int round = 0; round < 20000; ++round) {
    const Stream stream(4);
    if (round % 2 == 0) stream.ParallelFor(8, [](int, int) {});
  }
}

TEST(Stream, MoreThreadsThanCoresStillFinish) {
  const Stream stream(16);
  std::atomic<int> sum{0};
  for (int round = 0; round < 200; ++round) {
    stream.ParallelFor(40, [&](int, int) { sum.fetch_add(1, std::memory_order_relaxed); });
  }
  EXPECT_EQ(sum.load(), 200 * 40);
}

}  // namespace
}  // namespace lorry
