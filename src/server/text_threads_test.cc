#include "server/text_threads.h"

#include <gtest/gtest.h>

#include <semaphore>

namespace lorry::server {
namespace {

TextTask Task(size_t num_bytes) { return {.body = std::string(num_bytes, 'x'), .exchange = {}}; }

TEST(TextThreads, TasksThatWaitAreLimitedByNumber) {
  TextThreads threads({.max_pending = 2}, [](TextTask) {});
  EXPECT_TRUE(threads.TrySend(Task(1)));
  EXPECT_TRUE(threads.TrySend(Task(1)));
  EXPECT_FALSE(threads.TrySend(Task(1)));
}

TEST(TextThreads, TasksThatWaitAreLimitedByBytes) {
  std::counting_semaphore<> done(0);
  TextThreads threads({.max_pending_bytes = 100}, [&](TextTask) { done.release(); });
  EXPECT_TRUE(threads.TrySend(Task(60)));
  TextTask second = Task(60);
  EXPECT_FALSE(threads.TrySend(std::move(second)));
  EXPECT_EQ(second.body.size(), 60u);
  EXPECT_TRUE(threads.TrySend(Task(40)));
  EXPECT_FALSE(threads.TrySend(Task(1)));
  threads.Start();
  done.acquire();
  done.acquire();
  while (!threads.TrySend(std::move(second))) std::this_thread::yield();
}

TEST(TextThreads, ALoneTaskMayBeLarger) {
  TextThreads threads({.max_pending_bytes = 100}, [](TextTask) {});
  EXPECT_TRUE(threads.TrySend(Task(200)));
  EXPECT_FALSE(threads.TrySend(Task(1)));
}

}  // namespace
}  // namespace lorry::server
