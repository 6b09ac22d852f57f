#include "adapters/watch_rounds.h"

#include <gmock/gmock.h>
#include <sys/stat.h>

#include <filesystem>
#include <fstream>

#include "formats/test_files.h"

namespace lorry::adapters {
namespace {

namespace fs = std::filesystem;

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

constexpr Micros kSecondUs = 1'000'000;

// Time passes as fast as the rounds do.
class WatchRoundsTest : public ::testing::Test {
 protected:
  std::string Path(const std::string& path) const { return dir_.Path("w/" + path); }
  void Write(const std::string& path, const std::string& config) {
    fs::create_directories(Path(path));
    std::ofstream(Path(path) + "/adapter_config.json") << config;
    std::ofstream(Path(path) + "/adapter_model.bin") << "weights";
  }
  void Begin(size_t max_watches = FileEvents::kMaxWatches) {
    fs::create_directories(Path(""));
    WatchHooks hooks = {.found = [this](const std::string& name,
                                        const std::string&) { told_.push_back("+" + name); },
                        .gone = [this](const std::string& name) { told_.push_back("-" + name); },
                        .say = [this](const std::string& line) { said_.push_back(line); },
                        .follow = {},
                        .unfollow = {}};
    rounds_.emplace(std::vector<std::string>{dir_.Path("w")}, std::move(hooks), max_watches);
    rounds_->Begin(now_us_);
  }
  void Pass(Micros us) {
    for (const Micros end_us = now_us_ + us; now_us_ < end_us;) {
      now_us_ = std::min(std::max(rounds_->NextUs(now_us_), now_us_ + 1), end_us);
      rounds_->Wait(std::chrono::milliseconds(0));
      rounds_->Round(now_us_);
    }
  }
  // Until it has told this; how long that took, or a minute and more.
  Micros PassUntil(const std::string& told) {
    const Micros begin_us = now_us_;
    told_.clear();
    while (now_us_ < begin_us + 2 * WatchRounds::kPeriodUs) {
      Pass(kSecondUs / 10);
      if (std::ranges::find(told_, told) != told_.end()) break;
    }
    return now_us_ - begin_us;
  }
  bool HasEvents() const { return FileEvents().works(); }

  formats::TempDir dir_;
  Micros now_us_ = kSecondUs;
  std::vector<std::string> told_, said_;
  std::optional<WatchRounds> rounds_;
};

TEST_F(WatchRoundsTest, WhatTheSystemSaysIsSeenWithinASecond) {
  if (!HasEvents()) GTEST_SKIP();
  Write("x", "{}");
  Begin();
  EXPECT_THAT(told_, ElementsAre("+x"));
  Write("new", "{}");
  EXPECT_LE(PassUntil("+new"), kSecondUs);
  Write("x", "[7]");
  EXPECT_LE(PassUntil("+x"), kSecondUs);
  fs::remove_all(Path("x"));
  EXPECT_LE(PassUntil("-x"), kSecondUs);
  EXPECT_THAT(said_, IsEmpty());
}

// As Kubernetes and git-sync put a new version in the place of an old one.
TEST_F(WatchRoundsTest, ALinkThatIsSwappedOnTheWayIsSeen) {
  if (!HasEvents()) GTEST_SKIP();
  Write("..v1/k", "{}");
  Write("..v2/k", "[7]");
  const auto point = [this](const std::string& target, const std::string& link) {
    fs::create_symlink(target, dir_.Path("new"));
    fs::rename(dir_.Path("new"), link);
  };
  point("..v1", Path("..data"));
  fs::create_directory_symlink("..data/k", Path("below"));
  fs::create_directories(dir_.Path("out"));
  point(Path("..v1"), dir_.Path("out/current"));
  fs::create_directory_symlink(dir_.Path("out/current") + "/k", Path("beside"));
  fs::create_directories(Path("files"));
  for (const char* file : {"/adapter_config.json", "/adapter_model.bin"}) {
    fs::create_symlink(dir_.Path("out/current") + "/k" + file, Path("files") + file);
  }
  Begin();
  EXPECT_THAT(told_, ::testing::UnorderedElementsAre("+below", "+beside", "+files"));
  point("..v2", Path("..data"));
  EXPECT_LE(PassUntil("+below"), kSecondUs);
  point(Path("..v2"), dir_.Path("out/current"));
  EXPECT_LE(PassUntil("+beside"), kSecondUs + kSecondUs / 2);
  Pass(kSecondUs);
  EXPECT_THAT(told_, ::testing::Contains("+files"));
}

TEST_F(WatchRoundsTest, WhereItSaysNothingWithinThirty) {
  Write("x", "{}");
  Begin(0);
  EXPECT_THAT(said_, ElementsAre(HasSubstr("changes may be seen only after 21 s")));
  Pass(WatchRounds::kAlonePeriodUs / 2);
  for (int i = 0; i < 3; ++i) {
    Write("x", "[7]" + std::string(i, ' '));
    EXPECT_LE(PassUntil("+x"), 30 * kSecondUs);
    Pass(7 * kSecondUs);
  }
  Write("group/new", "{}");
  EXPECT_LE(PassUntil("+group/new"), 30 * kSecondUs);
  fs::remove_all(Path("x"));
  EXPECT_LE(PassUntil("-x"), 30 * kSecondUs);
  EXPECT_EQ(said_.size(), 1u);
}

TEST_F(WatchRoundsTest, ItMayComeToSayAllAgain) {
  if (!HasEvents()) GTEST_SKIP();
  Write("a", "{}");
  Write("b", "{}");
  Begin(2);  // the watched directory, and one of two
  ASSERT_EQ(said_.size(), 1u);
  fs::remove_all(Path("b"));
  Pass(WatchRounds::kAlonePeriodUs);
  EXPECT_THAT(said_.back(), HasSubstr("within a second again"));
  Write("a", "[7]");
  EXPECT_LE(PassUntil("+a"), kSecondUs);
  Write("b", "{}");
  Pass(kSecondUs);
  EXPECT_EQ(said_.size(), 3u) << "and not to";
}

TEST_F(WatchRoundsTest, WhatItHasLostIsLookedForAtOnce) {
  if (!HasEvents()) GTEST_SKIP();
  size_t max_queued = 0;
  std::ifstream("/proc/sys/fs/inotify/max_queued_events") >> max_queued;
  if (max_queued > (1 << 20)) GTEST_SKIP() << "the system's queue takes too much";
  Write("group/x", "{}");
  Write("storm", "{}");
  Begin();
  Pass(kSecondUs);
  const std::string files[] = {Path("storm/adapter_config.json"), Path("storm/adapter_model.bin")};
  for (size_t i = 0; i < max_queued; ++i) ::chmod(files[i % 2].c_str(), 0600 + (i / 2) % 2);
  // Nothing is said of this.
  fs::remove_all(Path("group"));
  fs::create_directories(Path("group"));
  Write("other/new", "{}");
  EXPECT_LE(PassUntil("+other/new"), 2 * kSecondUs);
  Pass(kSecondUs);
  Write("group/y", "{}");
  EXPECT_LE(PassUntil("+group/y"), kSecondUs);
}

}  // namespace
}  // namespace lorry::adapters
