#include "adapters/registry_file.h"

#include <gmock/gmock.h>

#include <filesystem>
#include <thread>

#include "formats/file_lock.h"
#include "formats/test_files.h"

namespace lorry::adapters {
namespace {

using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

class RegistryFileTest : public ::testing::Test {
 protected:
  formats::TempDir dir_;
  const std::string path_ = dir_.Path("registry.json");
  const RegistryFile file_{path_};
};

TEST_F(RegistryFileTest, ComesBackAsItWas) {
  EXPECT_THAT(file_.Read()->adapters, IsEmpty());  // not there yet
  ASSERT_TRUE(file_.Change([](RegistryContent& content) {
    content.adapters = {{"a/b", "hf://org/\"name\"", true, 12}, {"c", "/dir", false, 13}};
    content.sources["/dir"] = {"rev", {{1, 2, 3}}, 8, 14, size_t{1} << 40};
  }));
  const RegistryContent content = file_.Read().value();
  ASSERT_THAT(content.adapters, SizeIs(2));
  EXPECT_EQ(content.adapters[0].name, "a/b");
  EXPECT_EQ(content.adapters[0].source, "hf://org/\"name\"");
  EXPECT_TRUE(content.adapters[0].is_pinned);
  EXPECT_EQ(content.adapters[0].created_s, 12);
  const KnownSource& source = content.sources.at("/dir");
  EXPECT_EQ(source.revision, "rev");
  EXPECT_EQ(source.id, (AdapterId{{1, 2, 3}}));
  EXPECT_EQ(source.max_rank, 8);
  EXPECT_EQ(source.num_modules, 14);
  EXPECT_EQ(source.num_bytes, size_t{1} << 40);
}

TEST_F(RegistryFileTest, WhatIsBrokenIsPutAsideByWhoChangesIt) {
  const std::string id(32, 'a');
  const std::string sources = R"({"version":1,"adapters":[],"sources":{"s":)";
  for (const std::string& hostile : std::vector<std::string>{
           "", "null", "[]", "{", "\xff\xfe", R"({"version":0})", R"({"version":"1"})",
           std::string(100000, '['), R"({"version":1,"adapters":[7]})",
           R"({"version":1,"adapters":[{"name":"a"}]})",
           R"({"version":1,"adapters":[{"name":7,"source":"s"}]})", sources + "7}}",
           sources + R"({"revision":"r","id":"short"}}})",
           sources + R"({"revision":"r","id":")" + std::string(32, 'g') + "\"}}}",
           sources + R"({"revision":"r","id":")" + id + R"(","rank":99999999999}}})",
           sources + R"({"revision":"r","id":")" + id + R"(","modules":-1}}})",
           sources + R"({"revision":"r","id":")" + id + R"(","bytes":-5}}})"}) {
    dir_.Write("registry.json", hostile);
    const auto content = file_.Read();
    ASSERT_FALSE(content) << hostile.substr(0, 80);
    EXPECT_EQ(content.error().code, ErrorCode::kDataLoss);
    EXPECT_EQ(formats::ReadWhole(path_), hostile) << "whoever only looks leaves it";
    const auto was_there =
        file_.Change([](RegistryContent& content) { content.adapters.push_back({"a", "/"}); });
    ASSERT_TRUE(was_there.has_value()) << was_there.error().message;
    EXPECT_FALSE(*was_there);
    EXPECT_EQ(formats::ReadWhole(path_ + ".broken"), hostile);
    EXPECT_THAT(file_.Read()->adapters, SizeIs(1));
  }
}

TEST_F(RegistryFileTest, WhatCannotBeReadIsNotWrittenOver) {
  const auto add = [](RegistryContent& content) { content.adapters.push_back({"a", "/"}); };
  const std::string newer = R"({"version":2,"adapters":{"x":{}}})";
  dir_.Write("registry.json", newer);
  EXPECT_EQ(file_.Change(add).error().code, ErrorCode::kUnsupported);
  EXPECT_EQ(formats::ReadWhole(path_), newer);
  std::filesystem::remove(path_);
  std::filesystem::create_directory(path_);  // neither is anything that is no file
  EXPECT_FALSE(file_.Change(add).has_value());
  EXPECT_TRUE(std::filesystem::is_directory(path_));
  EXPECT_FALSE(std::filesystem::exists(path_ + ".broken"));
}

TEST_F(RegistryFileTest, AChangeIsOfItsOwnNamesOnly) {
  RegistryContent content;
  content.adapters = {{"a", "/a"}, {"b", "/b", true, 5}, {"c", "/c"}};
  content.sources["/a"].revision = "1";
  content.sources["/b"].revision = "2";
  RegistryChange change;
  change.adapters["a"] = RegisteredAdapter{"a", "/moved", false, 7};
  change.adapters["c"] = std::nullopt;
  change.adapters["gone"] = std::nullopt;  // which nobody has written down
  change.adapters["d"] = RegisteredAdapter{"d", "/d", false, 8};
  change.sources["/a"].revision = "3";
  change.ApplyTo(content);
  std::map<std::string, std::string> sources;
  for (const RegisteredAdapter& adapter : content.adapters) sources[adapter.name] = adapter.source;
  EXPECT_EQ(sources,
            (std::map<std::string, std::string>{{"a", "/moved"}, {"b", "/b"}, {"d", "/d"}}));
  EXPECT_THAT(content.adapters, SizeIs(3));
  EXPECT_EQ(content.sources["/a"].revision, "3");
  EXPECT_EQ(content.sources["/b"].revision, "2");
}

TEST_F(RegistryFileTest, ChangesOfManyTakeTurns) {
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([this, t] {
      for (int i = 0; i < 5; ++i) {
        EXPECT_TRUE(file_.Change([&](RegistryContent& content) {
          content.sources[std::to_string(t * 5 + i)] = {.revision = "r"};
        }));
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_THAT(file_.Read()->sources, SizeIs(20));
}

TEST_F(RegistryFileTest, WhoeverHoldsTheLockForLongIsNotWaitedForForEver) {
  const auto add = [](RegistryContent& content) { content.adapters.push_back({"a", "/"}); };
  const RegistryFile impatient(path_, 0);
  {
    const auto held = formats::FileLock::Acquire(path_ + ".lock");
    ASSERT_TRUE(held);
    const auto changed = impatient.Change(add);
    ASSERT_FALSE(changed);
    EXPECT_EQ(changed.error().code, ErrorCode::kUnavailable);
    EXPECT_THAT(changed.error().message, HasSubstr("another process has held its lock"));
    EXPECT_THAT(file_.Read()->adapters, IsEmpty());
  }
  EXPECT_TRUE(impatient.Change(add)) << "a free one is taken without waiting";
}

TEST_F(RegistryFileTest, ADirectoryThatIsGoneIsMadeAgain) {
  const RegistryFile file(dir_.Path("cache/base/registry.json"));
  for (int round = 0; round < 2; ++round) {
    ASSERT_TRUE(file.Change([](RegistryContent& content) { content.adapters = {{"a", "/a"}}; }));
    EXPECT_THAT(file.Read()->adapters, SizeIs(1));
    std::filesystem::remove_all(dir_.Path("cache"));
  }
}

TEST(ForgetUnnamedTest, KeepsWhatIsNamedAndAFewMore) {
  std::map<std::string, KnownSource> sources;
  for (const char* key : {"a", "b", "c", "d", "e"}) sources[key];
  ForgetUnnamed(sources, {"b", "e"}, 2);
  std::vector<std::string> left;
  for (const auto& [key, source] : sources) left.push_back(key);
  EXPECT_EQ(left, (std::vector<std::string>{"a", "b", "c", "e"}));
}

TEST_F(RegistryFileTest, WithoutAPathNothingIsKept) {
  const RegistryFile none("");
  EXPECT_TRUE(
      none.Change([](RegistryContent& content) { content.adapters.push_back({"a", "/"}); }));
  EXPECT_THAT(none.Read()->adapters, IsEmpty());
}

}  // namespace
}  // namespace lorry::adapters
