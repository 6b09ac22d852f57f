#include "base/turn_queue.h"

#include <gtest/gtest.h>

#include <atomic>
#include <thread>

namespace lorry {
namespace {

using Queue = TurnQueue<int>;

TEST(TurnQueue, KeepsTheOrder) {
  Queue queue(10, 10);
  for (int i = 0; i < 3; ++i) EXPECT_TRUE(queue.TrySend(Queue::kNoKey, std::move(i)));
  for (int i = 0; i < 3; ++i) EXPECT_EQ(queue.Take()->message, i);
}

TEST(TurnQueue, OfAKeyOneIsOut) {
  Queue queue(10, 10);
  for (int i = 0; i < 4; ++i) ASSERT_TRUE(queue.TrySend(i < 3 ? 7 : 8, std::move(i)));
  EXPECT_EQ(queue.Take()->message, 0);
  EXPECT_EQ(queue.Take()->message, 3);  // the others of 7 wait
  queue.Done(8);
  queue.Done(7);
  EXPECT_EQ(queue.Take()->message, 1);
  queue.Done(7);
  EXPECT_EQ(queue.Take()->message, 2);
}

TEST(TurnQueue, WithoutAKeyAnyNumberIsOut) {
  Queue queue(10, 1);
  EXPECT_TRUE(queue.TrySend(Queue::kNoKey, 1));
  EXPECT_TRUE(queue.TrySend(Queue::kNoKey, 2));
  EXPECT_EQ(queue.Take()->message, 1);
  EXPECT_EQ(queue.Take()->message, 2);
}

TEST(TurnQueue, IsBoundedTogetherAndByKey) {
  Queue queue(3, 2);
  EXPECT_TRUE(queue.TrySend(7, 1));
  EXPECT_TRUE(queue.TrySend(7, 2));
  EXPECT_FALSE(queue.TrySend(7, 3));
  EXPECT_TRUE(queue.TrySend(8, 4));
  EXPECT_FALSE(queue.TrySend(9, 5));
}

TEST(TurnQueue, WakesWhoeverWaits) {
  Queue queue(10, 10);
  std::atomic<int> sum = 0;
  std::vector<std::thread> receivers;
  for (int i = 0; i < 3; ++i) {
    receivers.emplace_back([&] {
      while (auto turn = queue.Take()) {
        sum += turn->message;
        queue.Done(turn->key);
      }
    });
  }
  int sent = 0;
  for (int i = 1; i <= 1000; ++i) {
    int message = i;
    while (!queue.TrySend(static_cast<Queue::Key>(i % 4), std::move(message))) {
      std::this_thread::yield();
    }
    sent += i;
  }
  while (sum != sent) std::this_thread::yield();
  queue.Close();
  for (std::thread& receiver : receivers) receiver.join();
  EXPECT_FALSE(queue.TrySend(1, 1));
  EXPECT_FALSE(queue.Take());
}

}  // namespace
}  // namespace lorry
