#include "adapters/watched_tree.h"

#include <gmock/gmock.h>
#include <sys/resource.h>

#include <filesystem>
#include <fstream>
#include <map>
#include <thread>

#include "formats/adapter_files.h"
#include "formats/test_files.h"

namespace lorry::adapters {
namespace {

namespace fs = std::filesystem;

using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;
using ::testing::UnorderedElementsAre;

constexpr Micros kSecondUs = 1'000'000;

class WatchedTreeTest : public ::testing::Test {
 protected:
  WatchedTreeTest() { fs::create_directories(Path("a")); }

  std::string Path(const std::string& path) const { return dir_.Path("w/" + path); }

  // As much of an adapter as the tree looks at. The times of two writes differ.
  void Write(const std::string& path, const std::string& config = "{}") {
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
    fs::create_directories(Path(path));
    std::ofstream(Path(path) + "/adapter_config.json") << config;
    std::ofstream(Path(path) + "/adapter_model.bin") << "weights";
  }
  WatchHooks Hooks() {
    return {.found = [this](const std::string& name,
                            const std::string& dir) { told_.push_back("+" + name + " " + dir); },
            .gone = [this](const std::string& name) { told_.push_back("-" + name); },
            .broken = [this](const std::string& name,
                             const std::string& why) { told_.push_back("!" + name + " " + why); },
            .say = [this](const std::string& line) { said_.push_back(line); },
            .follow =
                [this](const std::string& path) {
                  if (!has_events_) return -1;
                  const auto [watch, is_new] = watches_.try_emplace(path, next_watch_);
                  next_watch_ += is_new;
                  return watch->second;
                },
            .unfollow = [this](int watch) { unfollowed_.push_back(watch); }};
  }
  void Begin(const std::vector<std::string>& roots = {"a"}) {
    std::vector<std::string> dirs;
    for (const std::string& root : roots) dirs.push_back(Path(root));
    tree_ = std::make_unique<WatchedTree>(std::move(dirs), Hooks());
    tree_->Begin(now_us_);
  }
  // Looks at everything, and then until nothing is due for so long.
  void Look(Micros us = 2 * kSecondUs) {
    tree_->LookAtAll(now_us_);
    for (const Micros end_us = now_us_ + us; tree_->next_us() <= end_us;) {
      now_us_ = std::max(now_us_, tree_->next_us());
      tree_->LookAtDue(now_us_);
    }
    now_us_ += us;
  }
  std::vector<std::string> Told() { return std::exchange(told_, {}); }
  std::vector<std::string> Said() { return std::exchange(said_, {}); }
  std::string Found(const std::string& name, const std::string& root = "a") const {
    return "+" + name + " " + Path(root + "/" + name);
  }

  formats::TempDir dir_;
  Micros now_us_ = kSecondUs;
  bool has_events_ = false;
  std::map<std::string, int> watches_;  // by path
  int next_watch_ = 1;
  std::vector<int> unfollowed_;
  std::vector<std::string> told_, said_;
  std::unique_ptr<WatchedTree> tree_;
};

TEST_F(WatchedTreeTest, WhatIsThereIsKnownAtOnceWhatComesWhenItHasSettled) {
  Write("a/first");
  Write("a/run/step/adapter");
  Begin();
  EXPECT_THAT(Told(), UnorderedElementsAre(Found("first"), Found("run/step/adapter")));
  Write("a/later");
  tree_->LookAtAll(now_us_);
  EXPECT_THAT(Told(), IsEmpty());
  Write("a/later", R"({"r": 8})");  // still being written
  tree_->LookAtDue(now_us_ + WatchedTree::kSettleUs);
  EXPECT_THAT(Told(), IsEmpty());
  tree_->LookAtDue(now_us_ + 2 * WatchedTree::kSettleUs);
  EXPECT_THAT(Told(), ElementsAre(Found("later")));
  Look();
  EXPECT_THAT(Told(), IsEmpty());
  EXPECT_THAT(Said(), IsEmpty());
}

TEST_F(WatchedTreeTest, ChangesInsideAreSeenWhateverTheirTime) {
  Write("a/x", "{}");
  fs::create_directories(Path("elsewhere"));
  std::ofstream(Path("elsewhere/config")) << "{}";
  fs::create_directories(Path("a/linked"));
  fs::create_symlink(Path("elsewhere/config"), Path("a/linked/adapter_config.json"));
  std::ofstream(Path("a/linked/adapter_model.bin")) << "weights";
  Write("v1");
  Write("v2");
  fs::create_directory_symlink(Path("v1"), Path("a/moved"));
  Begin();
  ASSERT_THAT(Told(), SizeIs(3));
  // In place, of the same size, with the old time.
  const fs::path config = Path("a/x/adapter_config.json");
  const auto time = fs::last_write_time(config);
  std::this_thread::sleep_for(std::chrono::milliseconds(10));
  std::ofstream(config) << "[]";
  fs::last_write_time(config, time);
  Look();
  EXPECT_THAT(Told(), ElementsAre(Found("x")));
  // Another file in its place.
  std::ofstream(Path("a/x/new")) << "{}";
  fs::last_write_time(Path("a/x/new"), time);
  fs::rename(Path("a/x/new"), config);
  Look();
  EXPECT_THAT(Told(), ElementsAre(Found("x")));
  std::ofstream(Path("elsewhere/config")) << "[]";
  Look();
  EXPECT_THAT(Told(), ElementsAre(Found("linked")));
  fs::remove(Path("a/moved"));
  fs::create_directory_symlink(Path("v2"), Path("a/moved"));
  Look();
  EXPECT_THAT(Told(), ElementsAre(Found("moved")));
}

// Each file by itself, come, changed and gone; below "a" as deep as adapters lie.
TEST_F(WatchedTreeTest, EveryFileOfAnAdapterCounts) {
  for (const std::string name : {"x", "run/step/adapter"}) {
    Write("a/" + name);
    Begin();
    Told();
    for (const std::string_view file : formats::AdapterFileNames()) {
      if (file == formats::kAdapterConfigFile || file.starts_with("adapter_model.")) continue;
      const fs::path path = Path("a/" + name + "/" + std::string(file));
      fs::create_directories(path.parent_path());
      for (const std::string content : {"", "more"}) {
        std::ofstream(path) << content;
        Look();
        EXPECT_THAT(Told(), ElementsAre(Found(name))) << path;
      }
      fs::remove(path);
      Look();
      EXPECT_THAT(Told(), ElementsAre(Found(name))) << path;
    }
    std::ofstream(Path("a/" + name + "/notes.txt")) << "no file of an adapter's";
    std::ofstream(Path("a/" + name + "/additional_chat_templates/notes.txt")) << "nor this";
    Look();
    EXPECT_THAT(Told(), IsEmpty());
    fs::remove_all(Path("a"));
  }
}

// Links and folders, which an event in the directory itself does not tell of.
TEST_F(WatchedTreeTest, WhatLiesElsewhereIsFollowed) {
  has_events_ = true;
  for (const std::string name : {"x", "run/step/adapter"}) {
    Write("a/" + name);
    Begin();
    Told();
    const std::string folder = "a/" + name + "/additional_chat_templates";
    fs::create_directories(Path(folder));
    Look();
    ASSERT_TRUE(watches_.contains(Path(folder)));
    Told();
    std::ofstream(Path("elsewhere")) << "template";
    fs::create_symlink(Path("elsewhere"), Path(folder + "/tool_use.jinja"));
    tree_->OnEvent(watches_.at(Path(folder)), "tool_use.jinja", now_us_);
    while (tree_->next_us() != WatchedTree::kNever) tree_->LookAtDue(now_us_ = tree_->next_us());
    EXPECT_THAT(Told(), Contains(Found(name)));
    EXPECT_TRUE(watches_.contains(Path(folder + "/tool_use.jinja")));
    fs::remove_all(Path("a"));
    fs::remove(Path("elsewhere"));
  }
}

TEST_F(WatchedTreeTest, WhatIsWrittenAnewIsNotGoneMeanwhile) {
  Write("a/x");
  Begin();
  Told();
  fs::remove_all(Path("a/x"));
  tree_->LookAtAll(now_us_);
  Write("a/x", R"({"r": 8})");
  Look();
  EXPECT_THAT(Told(), ElementsAre(Found("x")));
  // Weights that are copied for long, before their config.
  fs::remove(Path("a/x/adapter_config.json"));
  for (int i = 0; i < 30; ++i) {
    std::ofstream(Path("a/x/adapter_model.bin"), std::ios::app) << "more";
    Look(kSecondUs);
  }
  EXPECT_THAT(Told(), IsEmpty());
  Write("a/x", "{}");
  Look();
  EXPECT_THAT(Told(), ElementsAre(Found("x")));
  // But if nothing follows it is gone.
  fs::remove(Path("a/x/adapter_config.json"));
  Look(2 * WatchedTree::kAbandonedUs);
  EXPECT_THAT(Told(), ElementsAre("-x"));
  EXPECT_THAT(Said(), ElementsAre(HasSubstr("it has no adapter_config.json")));
}

TEST_F(WatchedTreeTest, WhatIsGoneIsForgottenAndItsNameIsFree) {
  Write("a/x");
  Write("b/x");
  Write("a/group/y");
  Begin({"a", "b"});
  EXPECT_THAT(Told(), UnorderedElementsAre(Found("x"), Found("group/y")));
  EXPECT_THAT(Said(), ElementsAre(HasSubstr("the name is that of")));
  fs::remove_all(Path("a"));
  Look();
  EXPECT_THAT(Told(), UnorderedElementsAre("-x", "-group/y", Found("x", "b")));
  EXPECT_THAT(Said(), ElementsAre(HasSubstr("is gone")));
  EXPECT_EQ(tree_->num_directories(), 3u);
  Write("a/z");  // the watched directory comes back
  tree_->LookBehindLinks(now_us_);
  Look();
  EXPECT_THAT(Told(), ElementsAre(Found("z")));
}

TEST_F(WatchedTreeTest, WhatCannotBeReadIsNotGone) {
  Write("a/x");
  Begin();
  Told();
  rlimit before;
  ASSERT_EQ(::getrlimit(RLIMIT_NOFILE, &before), 0);
  rlimit none = before;
  none.rlim_cur = 0;
  ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &none), 0);
  Look(2 * WatchedTree::kAbandonedUs);
  Look(2 * WatchedTree::kAbandonedUs);
  ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &before), 0);
  EXPECT_THAT(Told(), IsEmpty());
  EXPECT_THAT(Said(), ElementsAre(HasSubstr("cannot be read")));
  Look();
  EXPECT_THAT(Told(), IsEmpty());
}

TEST_F(WatchedTreeTest, WhatIsPassedOverIsSaidOnceForEachOfItsStates) {
  Write("a/a b");
  Write("a/1/2/3/4");
  Write("a/\xff");
  Write("a/no-weights");
  fs::remove(Path("a/no-weights/adapter_model.bin"));
  Write("a/short");
  std::ofstream(Path("a/short/adapter_model.safetensors")) << "short";
  std::ofstream(Path("a/packed.tar.gz")) << "x";
  Write("a/.hidden");
  fs::create_directories(Path("a/empty"));
  Write("b");
  Begin({"a", "b"});
  EXPECT_THAT(Told(), IsEmpty());
  EXPECT_THAT(Said(),
              UnorderedElementsAre(
                  HasSubstr("letters, digits"), HasSubstr("letters, digits"),
                  HasSubstr("at most 3 directories deep"), HasSubstr("it has no adapter_model"),
                  HasSubstr("until adapter_model.safetensors is complete"),
                  HasSubstr("\"packed.tar.gz\" is passed over"), HasSubstr("an adapter itself")));
  for (int i = 0; i < 3; ++i) Look(2 * WatchedTree::kAbandonedUs);
  EXPECT_THAT(Said(), IsEmpty());
  Write("a/a b", "[]");
  Look(2 * WatchedTree::kAbandonedUs);
  EXPECT_THAT(Said(), ElementsAre(HasSubstr("letters, digits")));
  std::ofstream(Path("a/no-weights/adapter_model.bin")) << "weights";
  Look();
  EXPECT_THAT(Told(), ElementsAre(Found("no-weights")));
}

TEST_F(WatchedTreeTest, WeightsThatAreSomethingElseAreCalledWhatTheyAre) {
  const std::string weights = "/adapter_model.safetensors";
  for (const char* name : {"a/lfs", "a/page", "a/link"}) {
    Write(name);
    fs::remove(Path(name) + "/adapter_model.bin");
  }
  std::ofstream(Path("a/lfs") + weights) << "version https://git-lfs.github.com/spec/v1\n"
                                            "oid sha256:0\nsize 12345\n";
  std::ofstream(Path("a/page") + weights) << "<!DOCTYPE html><html>Sign in</html>";
  fs::create_symlink("../nowhere", Path("a/link") + weights);
  Write("a/good");
  Begin();
  EXPECT_THAT(Told(), ElementsAre(Found("good")));
  EXPECT_THAT(Said(), UnorderedElementsAre(HasSubstr("complete: is a Git LFS pointer"),
                                           HasSubstr("complete: is an HTML page"),
                                           HasSubstr("complete: a link to nothing (../nowhere)")));
  std::ofstream(Path("a/good") + weights) << "short";
  Look(2 * WatchedTree::kAbandonedUs);
  EXPECT_THAT(Told(), ElementsAre(HasSubstr("!good is passed over until")));
  EXPECT_THAT(Said(), SizeIs(1));
  fs::remove(Path("a/good") + weights);
  Look();
  EXPECT_THAT(Told(), ElementsAre(Found("good")));
}

TEST_F(WatchedTreeTest, AnEventMakesItsDirectoryDue) {
  has_events_ = true;
  Write("a/x");
  Write("a/y");
  Begin();
  Told();
  ASSERT_EQ(tree_->next_us(), WatchedTree::kNever);
  const auto watch_of = [&](const std::string& path) { return watches_.at(Path(path)); };
  Write("a/y", "[]");
  Write("a/x", "[]");
  tree_->OnEvent(watch_of("a/y"), "adapter_config.json", now_us_);
  EXPECT_EQ(tree_->next_us(), now_us_ + WatchedTree::kFirstLookUs);
  tree_->LookAtDue(now_us_ + WatchedTree::kFirstLookUs);
  tree_->LookAtDue(now_us_ + kSecondUs);
  EXPECT_THAT(Told(), ElementsAre(Found("y"))) << "x has had no event";
  Write("a/new");
  tree_->OnEvent(watch_of("a"), "new", now_us_);
  tree_->LookAtDue(now_us_ + kSecondUs);
  tree_->LookAtDue(now_us_ + 2 * kSecondUs);
  EXPECT_THAT(Told(), ElementsAre(Found("new")));
  EXPECT_EQ(tree_->next_us(), WatchedTree::kNever);
}

TEST_F(WatchedTreeTest, AWatchThatWentUnheardIsSetAnew) {
  has_events_ = true;
  Write("a/x");
  fs::create_directories(Path("elsewhere"));
  std::ofstream(Path("elsewhere/config")) << "{}";
  fs::create_directories(Path("a/linked"));
  fs::create_symlink(Path("elsewhere/config"), Path("a/linked/adapter_config.json"));
  std::ofstream(Path("a/linked/adapter_model.bin")) << "weights";
  Begin();
  Told();
  ASSERT_THAT(watches_, SizeIs(4));
  watches_.clear();
  unfollowed_.clear();
  Look();
  EXPECT_THAT(unfollowed_, SizeIs(4)) << "those that are of no use any more";
  Write("a/x", "[]");
  tree_->OnEvent(watches_.at(Path("a/x")), "adapter_config.json", now_us_);
  tree_->LookAtDue(now_us_ + kSecondUs);
  tree_->LookAtDue(now_us_ + 2 * kSecondUs);
  EXPECT_THAT(Told(), ElementsAre(Found("x")));
  std::ofstream(Path("elsewhere/config")) << "[]";
  const int link = watches_.at(Path("a/linked/adapter_config.json"));
  tree_->OnEvent(link, "", now_us_ + 3 * kSecondUs);
  tree_->LookAtDue(now_us_ + 4 * kSecondUs);
  tree_->LookAtDue(now_us_ + 5 * kSecondUs);
  EXPECT_THAT(Told(), ElementsAre(Found("linked")));
  Look();
  EXPECT_THAT(unfollowed_, SizeIs(4)) << "the others stay";
}

}  // namespace
}  // namespace lorry::adapters
