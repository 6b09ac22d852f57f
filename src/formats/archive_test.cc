#include "formats/archive.h"

#include <gmock/gmock.h>

#include "formats/archive_testing.h"
#include "formats/test_files.h"

namespace lorry::formats {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

std::vector<TestEntry> AdapterAt(const std::string& folder, const std::string& content) {
  return {{folder + "adapter_config.json", content}, {folder + "adapter_model.safetensors", "w"}};
}

std::vector<TestEntry> Together(std::vector<TestEntry> entries,
                                const std::vector<std::vector<TestEntry>>& more) {
  for (const auto& list : more) entries.insert(entries.end(), list.begin(), list.end());
  return entries;
}

class ArchiveTest : public ::testing::TestWithParam<TestFormat> {
 protected:
  Result<ExtractedAdapter> Extract(const std::vector<TestEntry>& entries,
                                   const ExtractOptions& options = {}) {
    MakeArchive(dir_.Path("archive"), GetParam(), entries);
    return ExtractArchive(dir_.Path("archive"), dir_.Path("target"), options);
  }

  // All that lies in the test's directory but the archive.
  std::vector<std::string> Left() const {
    std::vector<std::string> names;
    for (const auto& entry : std::filesystem::recursive_directory_iterator(dir_.path())) {
      const std::string name = std::filesystem::relative(entry.path(), dir_.path()).string();
      if (name != "archive") names.push_back(name);
    }
    std::sort(names.begin(), names.end());
    return names;
  }

  TempDir dir_;
};

INSTANTIATE_TEST_SUITE_P(Formats, ArchiveTest,
                         ::testing::Values(TestFormat::kTar, TestFormat::kTarGz, TestFormat::kZip,
                                           TestFormat::kZipStored),
                         [](const auto& info) { return FormatName(info.param); });

TEST_P(ArchiveTest, TheAdapterAndNothingElseIsTaken) {
  std::string weights;
  for (int i = 0; i < 1'000'000; ++i) weights.push_back(static_cast<char>((i * 2654435761u) >> 24));
  const auto adapter = Extract({{"mine/", "", AE_IFDIR},
                                {"mine/optimizer.pt", std::string(100'000, 'o')},
                                {"mine/adapter_model.safetensors", weights},
                                {"mine/empty/", "", AE_IFDIR},
                                {"mine/tokenizer.json", "{}"},
                                {"mine/run.sh", "true"},
                                {"mine/adapter_config.json", R"({"r":8})"},
                                {"mine/vocab.txt", ""}});
  ASSERT_TRUE(adapter) << adapter.error().message;
  EXPECT_EQ(adapter->folder, "mine");
  EXPECT_THAT(adapter->files, ElementsAre("adapter_config.json", "adapter_model.safetensors",
                                          "tokenizer.json", "vocab.txt"));
  EXPECT_EQ(adapter->bytes, weights.size() + 2 + 7);
  EXPECT_TRUE(ReadWhole(dir_.Path("target/adapter_model.safetensors")) == weights);
  EXPECT_EQ(ReadWhole(dir_.Path("target/adapter_config.json")), R"({"r":8})");
  EXPECT_THAT(Left(), ElementsAre("target", "target/adapter_config.json",
                                  "target/adapter_model.safetensors", "target/tokenizer.json",
                                  "target/vocab.txt"));
}

TEST_P(ArchiveTest, TemplatesLieInAFolderOfTheAdapters) {
  const std::string templates = "additional_chat_templates/";
  const auto entries =
      Together(AdapterAt("a/", "a"), {{{"a/" + templates, "", AE_IFDIR},
                                       {"a/" + templates + "tool_use.jinja", "tools"},
                                       {"a/" + templates + "other.jinja", "passed over"},
                                       {"a/more/" + templates + "tool_use.jinja", "too deep"},
                                       {"a/" + templates + "more/tool_use.jinja", "too deep"},
                                       {templates + "tool_use.jinja", "of no adapter"},
                                       {templates + "tokenizer.json", "of no adapter"},
                                       {"a/tool_use.jinja", "has no such place"}}});
  const auto adapter = Extract(entries);
  ASSERT_TRUE(adapter) << adapter.error().message;
  EXPECT_THAT(adapter->files, ElementsAre("adapter_config.json", "adapter_model.safetensors",
                                          templates + "tool_use.jinja"));
  EXPECT_EQ(ReadWhole(dir_.Path("target/" + templates + "tool_use.jinja")), "tools");
  EXPECT_THAT(Left(),
              ElementsAre("target", "target/adapter_config.json",
                          "target/adapter_model.safetensors", "target/additional_chat_templates",
                          "target/additional_chat_templates/tool_use.jinja"));
}

TEST_P(ArchiveTest, AnAdapterLiesAtTheTopOrDeep) {
  const auto top = Extract(AdapterAt("./", "top"));
  ASSERT_TRUE(top) << top.error().message;
  EXPECT_EQ(top->folder, ".");
  std::filesystem::remove_all(dir_.Path("target"));
  const auto deep = Extract(AdapterAt("a/b//./c/", "deep"));
  ASSERT_TRUE(deep) << deep.error().message;
  EXPECT_EQ(deep->folder, "a/b/c");
  EXPECT_EQ(ReadWhole(dir_.Path("target/adapter_config.json")), "deep");
}

TEST_P(ArchiveTest, OfSeveralTheNamedOneIsTaken) {
  const auto entries =
      Together(AdapterAt("", "top"), {AdapterAt("ckpt-1/", "one"), AdapterAt("ckpt-2/", "two")});
  const auto none = Extract(entries);
  ASSERT_FALSE(none);
  EXPECT_EQ(none.error().code, ErrorCode::kInvalidArgument);
  EXPECT_THAT(none.error().message, HasSubstr(R"(3 adapters)"));
  EXPECT_THAT(none.error().message, HasSubstr(R"(".", "ckpt-1", "ckpt-2")"));
  EXPECT_THAT(Left(), ElementsAre());

  const auto two = Extract(entries, {.subfolder = "./ckpt-2/"});
  ASSERT_TRUE(two) << two.error().message;
  EXPECT_EQ(ReadWhole(dir_.Path("target/adapter_config.json")), "two");
  std::filesystem::remove_all(dir_.Path("target"));
  const auto top = Extract(entries, {.subfolder = "."});
  ASSERT_TRUE(top) << top.error().message;
  EXPECT_EQ(ReadWhole(dir_.Path("target/adapter_config.json")), "top");
  std::filesystem::remove_all(dir_.Path("target"));

  const auto absent = Extract(entries, {.subfolder = "ckpt-3"});
  ASSERT_FALSE(absent);
  EXPECT_EQ(absent.error().code, ErrorCode::kNotFound);
  EXPECT_THAT(absent.error().message, HasSubstr("ckpt-3"));
  const auto outside = Extract(entries, {.subfolder = "../ckpt-1"});
  ASSERT_FALSE(outside);
  EXPECT_EQ(outside.error().code, ErrorCode::kInvalidArgument);
  EXPECT_THAT(Left(), ElementsAre());
}

TEST_P(ArchiveTest, WithoutAConfigThereIsNoAdapter) {
  const auto adapter = Extract({{"a/adapter_model.safetensors", "w"}, {"a/notes", "n"}});
  ASSERT_FALSE(adapter);
  EXPECT_EQ(adapter.error().code, ErrorCode::kNotFound);
  EXPECT_THAT(adapter.error().message, HasSubstr("no adapter_config.json"));
  EXPECT_THAT(Left(), ElementsAre());
}

TEST_P(ArchiveTest, WhatStandsAtTheTargetStays) {
  dir_.Write("target/mine", "kept");
  const auto adapter = Extract(AdapterAt("", "x"));
  ASSERT_FALSE(adapter);
  EXPECT_EQ(adapter.error().code, ErrorCode::kConflict);
  EXPECT_THAT(Left(), ElementsAre("target", "target/mine"));
}

TEST_P(ArchiveTest, StopsWhenItIsCancelled) {
  const std::atomic<bool> cancelled = true;
  const auto adapter = Extract(AdapterAt("", "x"), {.cancelled = &cancelled});
  ASSERT_FALSE(adapter);
  EXPECT_EQ(adapter.error().code, ErrorCode::kCancelled);
  EXPECT_THAT(Left(), ElementsAre());
}

// What macOS and Python make: a gzip file of several members, zeros behind it.
TEST(Archive, AGzipFileOfSeveralMembers) {
  const TempDir dir;
  MakeArchive(dir.Path("plain"), TestFormat::kTar, AdapterAt("", "x"));
  const std::string tar = ReadWhole(dir.Path("plain"));
  const std::string members = Gzip(tar.substr(0, 700)) + Gzip("") + Gzip(tar.substr(700));
  dir.Write("archive", members + std::string(512, '\0'));
  const auto adapter = ExtractArchive(dir.Path("archive"), dir.Path("target"));
  ASSERT_TRUE(adapter) << adapter.error().message;
  EXPECT_EQ(ReadWhole(dir.Path("target/adapter_config.json")), "x");

  dir.Write("archive", members + "trailing");
  const auto trailing = ExtractArchive(dir.Path("archive"), dir.Path("other"));
  EXPECT_THAT(trailing ? "" : trailing.error().message, HasSubstr("something else follows"));
}

TEST(Archive, WhatIsNoArchiveSaysSo) {
  const TempDir dir;
  const auto code = [&](const std::string& path) {
    const auto adapter = ExtractArchive(path, dir.Path("target"));
    return adapter ? ErrorCode::kInternal : adapter.error().code;
  };
  EXPECT_EQ(code(dir.Write("text", "adapter_config.json")), ErrorCode::kDataLoss);
  EXPECT_EQ(code(dir.Write("gzipped text", Gzip("adapter_config.json"))), ErrorCode::kDataLoss);
  EXPECT_EQ(code(dir.Path("absent")), ErrorCode::kNotFound);
  EXPECT_EQ(code(dir.path()), ErrorCode::kUnfit);
  EXPECT_NE(code(dir.Write("empty", "")), ErrorCode::kInternal);
  EXPECT_FALSE(std::filesystem::exists(dir.Path("target")));
}

}  // namespace
}  // namespace lorry::formats
