#include "server/text_threads.h"

#include <gtest/gtest.h>

#include <latch>
#include <semaphore>

namespace lorry::server {
namespace {

constexpr size_t kLongBytes = 64 << 10;

TextTask Task(std::string body) { return {.body = std::move(body), .exchange = {}}; }
TextTask Task(size_t num_bytes) { return Task(std::string(num_bytes, 'x')); }

// Of an adapter that brings a text; different numbers are different texts.
TextTask OwnTask(uint8_t number) {
  auto handle = std::make_shared<AdapterHandle>();
  handle->text.id.bytes[0] = number;
  handle->text.id.bytes[15] = 1;
  TextTask task = Task(1);
  task.adapters.push_back({.name = "own", .handle = std::move(handle)});
  return task;
}

TEST(TextThreads, TasksThatWaitAreLimitedByNumber) {
  TextThreads threads({.max_pending = 2}, [](TextTask) {});
  EXPECT_TRUE(threads.TrySend(Task(1)));
  EXPECT_TRUE(threads.TrySend(Task(1)));
  const Status refused = threads.TrySend(Task(1));
  ASSERT_FALSE(refused.has_value());
  EXPECT_EQ(refused.error().code, ErrorCode::kResourceExhausted);
}

TEST(TextThreads, TasksThatWaitAreLimitedByBytes) {
  std::counting_semaphore<> done(0);
  TextThreads threads({.max_pending_bytes = 6 * kLongBytes}, [&](TextTask) { done.release(); });
  EXPECT_TRUE(threads.TrySend(Task(2 * kLongBytes)));
  TextTask second = Task(2 * kLongBytes);
  EXPECT_FALSE(threads.TrySend(std::move(second)));
  EXPECT_EQ(second.body.size(), 2 * kLongBytes);
  EXPECT_TRUE(threads.TrySend(Task(kLongBytes)));
  EXPECT_FALSE(threads.TrySend(Task(kLongBytes)));
  threads.Start();
  done.acquire();
  done.acquire();
  while (!threads.TrySend(std::move(second))) std::this_thread::yield();
}

TEST(TextThreads, ALoneTaskMayBeLarger) {
  TextThreads threads({.max_pending_bytes = 100}, [](TextTask) {});
  EXPECT_TRUE(threads.TrySend(Task(kLongBytes)));
  EXPECT_FALSE(threads.TrySend(Task(kLongBytes)));
}

TEST(TextThreads, FullLanesRefuseTheirOwnOnly) {
  TextThreads threads({.max_pending = 2, .max_pending_bytes = 1}, [](TextTask) {});
  EXPECT_TRUE(threads.TrySend(Task(kLongBytes)));
  EXPECT_FALSE(threads.TrySend(Task(kLongBytes)));
  EXPECT_TRUE(threads.TrySend(OwnTask(1)));
  EXPECT_FALSE(threads.TrySend(OwnTask(1)));
  EXPECT_TRUE(threads.TrySend(Task(10)));
}

TEST(TextThreads, BodiesThatWaitForAdaptersCountAmongThemselves) {
  TextThreads threads({.max_pending_bytes = 4 * kLongBytes}, [](TextTask) {});
  std::vector<TextTask> waiting;
  const auto hold = [&](size_t num_bytes) {
    waiting.push_back(Task(num_bytes));
    return threads.HoldElsewhere(waiting.back()).has_value();
  };
  EXPECT_TRUE(hold(kLongBytes));
  EXPECT_TRUE(hold(kLongBytes));
  EXPECT_FALSE(hold(kLongBytes));
  EXPECT_TRUE(hold(10));
  EXPECT_TRUE(threads.TrySend(Task(2 * kLongBytes)));         // has room of its own
  EXPECT_FALSE(threads.TrySend(std::move(waiting.front())));  // which is full now
  waiting.clear();
  EXPECT_TRUE(hold(2 * kLongBytes));
}

// Each of `tasks` blocks until a short one, sent last, is done; on old code it never is.
void ExpectShortWorkBeside(std::vector<TextTask> tasks) {
  std::latch short_done(1);
  std::latch all_done(static_cast<ptrdiff_t>(tasks.size()));
  TextThreads threads({}, [&](TextTask task) {
    if (task.body == "short") return short_done.count_down();
    short_done.wait();
    all_done.count_down();
  });
  threads.Start();
  for (TextTask& task : tasks) ASSERT_TRUE(threads.TrySend(std::move(task)));
  ASSERT_TRUE(threads.TrySend(Task("short")));
  all_done.wait();
}

TEST(TextThreads, ShortWorkGoesBesideLongBodies) {
  std::vector<TextTask> tasks;
  for (int i = 0; i < 3; ++i) tasks.push_back(Task(kLongBytes));
  ExpectShortWorkBeside(std::move(tasks));
}

TEST(TextThreads, ShortWorkGoesBesideManyMessages) {
  std::string body;
  for (int i = 0; i < 100; ++i) body += "{}";
  std::vector<TextTask> tasks;
  tasks.push_back(Task(body));
  ExpectShortWorkBeside(std::move(tasks));
}

TEST(TextThreads, ShortWorkGoesBesideTextsOfAdapters) {
  std::vector<TextTask> tasks;
  for (uint8_t i = 0; i < 20; ++i) tasks.push_back(OwnTask(i));
  ExpectShortWorkBeside(std::move(tasks));
}

TEST(TextThreads, ASlowTextHoldsNoOtherText) {
  std::latch other_done(1);
  std::latch all_done(20);
  TextThreads threads({}, [&](TextTask task) {
    if (task.adapters[0].handle->text.id.bytes[0] == 2) return other_done.count_down();
    other_done.wait();
    all_done.count_down();
  });
  threads.Start();
  for (int i = 0; i < 20; ++i) ASSERT_TRUE(threads.TrySend(OwnTask(1)));
  ASSERT_TRUE(threads.TrySend(OwnTask(2)));
  all_done.wait();
}

}  // namespace
}  // namespace lorry::server
