#include "adapters/file_events.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <filesystem>
#include <fstream>

#include "formats/test_files.h"

namespace lorry::adapters {
namespace {

namespace fs = std::filesystem;

constexpr std::chrono::milliseconds kNoWait(0);

TEST(FileEventsTest, SaysWhatChangesAndHasABound) {
  formats::TempDir dir;
  fs::create_directories(dir.Path("x"));
  fs::create_directories(dir.Path("y"));
  FileEvents events(1);
  if (!events.works()) GTEST_SKIP() << events.reason();
  const int x = events.Add(dir.Path("x"));
  ASSERT_GE(x, 0);
  EXPECT_LT(events.Add(dir.Path("nowhere")), 0);
  EXPECT_TRUE(events.says_all());
  EXPECT_EQ(events.Add(dir.Path("x")), x) << "one more time is no more";
  EXPECT_TRUE(events.says_all());
  EXPECT_LT(events.Add(dir.Path("y")), 0);
  EXPECT_FALSE(events.says_all());
  EXPECT_EQ(events.reason(), "more directories than are watched");
  dir.Write("x/file", "text");
  bool is_seen = false;
  for (const FileEvent& event : events.Wait(std::chrono::seconds(10))) {
    is_seen |= event.watch == x && event.name == "file";
  }
  EXPECT_TRUE(is_seen);
  events.Remove(x);
  events.AddAnew();
  EXPECT_GE(events.Add(dir.Path("y")), 0);
  EXPECT_TRUE(events.says_all()) << "there is room again";
  events.Wake();
  events.Wait(std::chrono::hours(1));
}

TEST(FileEventsTest, TakesAPartOfAStormAndSaysThatSomeIsLost) {
  formats::TempDir dir;
  FileEvents events;
  if (!events.works()) GTEST_SKIP() << events.reason();
  size_t max_queued = 0;
  std::ifstream("/proc/sys/fs/inotify/max_queued_events") >> max_queued;
  if (max_queued < 2 * FileEvents::kMaxEvents || max_queued > (1 << 20)) {
    GTEST_SKIP() << "the system's queue has room for " << max_queued;
  }
  dir.Write("a", "");
  dir.Write("b", "");
  const int watch = events.Add(dir.Path(""));
  ASSERT_GE(watch, 0);
  const std::string files[] = {dir.Path("a"), dir.Path("b")};  // by turns: equal ones become one
  for (size_t i = 0; i < max_queued + 10; ++i) ::chmod(files[i % 2].c_str(), 0600);
  size_t num_seen = 0, num_lost = 0, num_waits = 0;
  for (;; ++num_waits) {
    const std::vector<FileEvent> part = events.Wait(kNoWait);
    if (part.empty()) break;
    EXPECT_LT(part.size(), 2 * FileEvents::kMaxEvents);
    num_seen += part.size();
    for (const FileEvent& event : part) num_lost += event.watch < 0;
  }
  EXPECT_GT(num_waits, 1u);
  EXPECT_GE(num_seen, max_queued);
  EXPECT_EQ(num_lost, 1u);
}

}  // namespace
}  // namespace lorry::adapters
