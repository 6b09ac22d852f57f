#include "adapters/directory_watch.h"

#include <gtest/gtest.h>

#include <filesystem>

#include "adapters/catalogue_testing.h"

namespace lorry::adapters {
namespace {

namespace fs = std::filesystem;

class DirectoryWatchTest : public CatalogueTest {
 protected:
  void StartWatch() {
    fs::create_directories(dir_.Path("sources"));
    Start();
    watch_ = DirectoryWatch::Start({dir_.Path("sources")}, *catalogue_).value();
  }
  // Rounds of the watch go by.
  static void Wait() { std::this_thread::sleep_for(std::chrono::milliseconds(1000)); }

  std::unique_ptr<DirectoryWatch> watch_;
};

TEST_F(DirectoryWatchTest, WhatIsThereIsKnownAtOnceWhatComesASecondLater) {
  Source("all-linear-r8", "first");
  Source("rslora-r3", "tree/inner");  // several adapters in one tree
  Source("rslora-r3", "first/second");
  fs::create_directories(dir_.Path("sources/tree/empty"));
  fs::create_directories(dir_.Path("sources/.hidden"));
  StartWatch();
  EXPECT_EQ(List().size(), 3u);
  EXPECT_TRUE(IsKnown("first") && IsKnown("first/second") && IsKnown("tree/inner"));
  EXPECT_EQ(static_cast<const AdapterImage&>(*Want("tree/inner").Value()).max_rank, 3);
  Source("dora", "later");
  EXPECT_TRUE(Eventually([&] { return IsKnown("later"); }));
  EXPECT_TRUE(Want("later").Get());
}

TEST_F(DirectoryWatchTest, AHalfCopiedOneWaits) {
  StartWatch();
  const fs::path dir = Source("all-linear-r8", "a");
  const std::string weights = formats::ReadWhole(dir / "adapter_model.safetensors");
  std::ofstream(dir / "adapter_model.safetensors", std::ios::binary | std::ios::trunc)
      << weights.substr(0, weights.size() / 2);
  Wait();
  EXPECT_FALSE(IsKnown("a"));
  std::ofstream(dir / "adapter_model.safetensors", std::ios::binary | std::ios::trunc) << weights;
  EXPECT_TRUE(Eventually([&] { return IsKnown("a"); }));
}

TEST_F(DirectoryWatchTest, AChangedOneIsReadAgainAndAGoneOneForgotten) {
  Source("all-linear-r8", "a");
  StartWatch();
  const AdapterId first = Want("a").Value()->id;
  Source("rslora-r3", "a");
  EXPECT_TRUE(Eventually([&] { return Want("a").Value()->id != first; }));
  fs::remove_all(dir_.Path("sources/a"));
  EXPECT_TRUE(Eventually([&] { return !IsKnown("a"); }));
  EXPECT_EQ(Want("a").Code(), ErrorCode::kNotFound);
}

TEST_F(DirectoryWatchTest, ATemplateThatChangesAloneIsReadAgain) {
  formats::TempDir base;
  base.Write("tokenizer.json", R"({"model": {"vocab": {"a": 0}}})");
  options_.base.text =
      std::make_shared<const formats::BaseText>(formats::BaseText::Read(base.path()).value());
  Source("all-linear-r8", "run/step/a");
  StartWatch();
  AdapterId before = Want("run/step/a").Value()->id;
  for (const std::string text : {"one", "two"}) {
    dir_.Write("sources/run/step/a/additional_chat_templates/tool_use.jinja", text);
    EXPECT_TRUE(Eventually([&] { return Want("run/step/a").Value()->id != before; })) << text;
    before = Want("run/step/a").Value()->id;
  }
}

TEST_F(DirectoryWatchTest, LinksThatLeadInACircleEnd) {
  Source("all-linear-r8", "tree/a");
  fs::create_directory_symlink(dir_.Path("sources"), dir_.Path("sources/tree/up"));
  StartWatch();
  EXPECT_TRUE(IsKnown("tree/a"));
  EXPECT_LT(List().size(), 10u);
}

TEST_F(DirectoryWatchTest, OnlyDirectoriesAreWatched) {
  Start();
  EXPECT_EQ(DirectoryWatch::Start({dir_.Path("nowhere")}, *catalogue_).error().code,
            ErrorCode::kNotFound);
}

}  // namespace
}  // namespace lorry::adapters
