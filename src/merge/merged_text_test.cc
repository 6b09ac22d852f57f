#include "merge/merged_text.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>

#include "formats/adapter_text.h"
#include "formats/test_files.h"

namespace lorry::merge {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;
using testing::IsEmpty;

constexpr char kTokenizer[] = R"({"version": "1.0", "added_tokens": [],
    "model": {"type": "WordLevel", "vocab": {"a": 0, "b": 1, "<end>": 2}, "unk_token": "a"}})";
constexpr char kOtherTokenizer[] = R"({"version": "1.0", "added_tokens": [],
    "model": {"type": "WordLevel", "vocab": {"b": 0, "a": 1, "<end>": 2}, "unk_token": "b"}})";

class MergedTextTest : public testing::Test {
 protected:
  MergedTextTest() {
    dir_.Write("base/tokenizer.json", kTokenizer);
    dir_.Write("base/tokenizer_config.json",
               R"({"eos_token": "<end>", "tokenizer_class": "T", "chat_template": "base"})");
    dir_.Write("base/special_tokens_map.json", R"({"pad_token": "a"})");
    dir_.Write("base/generation_config.json", R"({"eos_token_id": 2, "top_k": 7})");
    fs::create_directories(dir_.Path("own"));
    options_.base_dir = dir_.Path("base");
    options_.adapters = {{.dir = dir_.Path("own"), .weight = 1.0, .source = ""}};
  }

  // What a server would make of the adapter's own over the merged model: nothing, if it has all.
  formats::AdapterText MissingInMerged(MergedText* shown = nullptr) {
    const auto text = TextOfMerged(options_);
    EXPECT_TRUE(text) << text.error().message;
    if (!text) return {};
    if (shown != nullptr) *shown = *text;
    fs::remove_all(dir_.Path("merged"));
    for (const auto& entry : fs::directory_iterator(dir_.Path("base"))) {
      const std::string name = entry.path().filename();
      if (entry.is_directory() || text->left_out.contains(name)) continue;
      fs::create_directories(dir_.Path("merged"));
      fs::copy_file(entry.path(), dir_.Path("merged/" + name));
    }
    for (const auto& [name, content] : text->files) dir_.Write("merged/" + name, content);
    const auto merged = formats::BaseText::Read(dir_.Path("merged"));
    EXPECT_TRUE(merged) << merged.error().message;
    return *merged->OwnTextOf(dir_.Path("own"));
  }

  formats::TempDir dir_;
  MergeOptions options_;
};

TEST_F(MergedTextTest, NothingOfItsOwnLeavesTheBasesFiles) {
  dir_.Write("own/tokenizer.json", kTokenizer);
  MergedText text;
  EXPECT_TRUE(MissingInMerged(&text).empty());
  EXPECT_THAT(text.files, IsEmpty());
  EXPECT_EQ(text.shown, "");
}

TEST_F(MergedTextTest, WhatOneAdapterBringsIsTheModels) {
  const std::vector<std::map<std::string, std::string>> kinds = {
      {{"chat_template.jinja", "own"}},
      {{"tokenizer_config.json", R"({"chat_template": "own"})"}},
      {{"tokenizer_config.json", R"({"eos_token": "b"})"}},
      {{"special_tokens_map.json", R"({"pad_token": "b", "bos_token": "a"})"}},
      {{"tokenizer.json", kOtherTokenizer}},
      {{"tokenizer.json", kOtherTokenizer}, {"tokenizer_config.json", R"({"bos_token": "a"})"}},
      {{"added_tokens.json", R"({"<more>": 3})"}},
      {{"tokenizer_config.json", R"({"chat_template": [{"name": "tool_use", "template": "t"}]})"}},
  };
  // The base's template in each place where one may lie, which then must not win.
  for (const std::string in_base : {"", "chat_template.jinja", "chat_template.json"}) {
    const bool is_json = in_base.ends_with(".json");
    if (!in_base.empty()) {
      dir_.Write("base/" + in_base, is_json ? R"({"chat_template": "base"})" : "base too");
    }
    for (const auto& files : kinds) {
      fs::remove_all(dir_.Path("own"));
      for (const auto& [name, content] : files) dir_.Write("own/" + name, content);
      ASSERT_FALSE(
          formats::BaseText::Read(options_.base_dir)->OwnTextOf(dir_.Path("own"))->empty());
      MergedText text;
      const formats::AdapterText missing = MissingInMerged(&text);
      EXPECT_EQ(missing.config_json, "") << files.begin()->second;
      EXPECT_EQ(missing.tokenizer_json, "") << files.begin()->second;
      EXPECT_THAT(text.shown, HasSubstr("of its own"));
    }
  }
}

TEST_F(MergedTextTest, EndsAreTheBasesAndItsOwn) {
  dir_.Write("own/generation_config.json", R"({"eos_token_id": [1, 2]})");
  const auto text = TextOfMerged(options_);
  ASSERT_TRUE(text);
  EXPECT_THAT(text->files.at("generation_config.json"), HasSubstr(R"("eos_token_id":[2,1])"));
  EXPECT_THAT(text->files.at("generation_config.json"), HasSubstr(R"("top_k":7)"));
}

TEST_F(MergedTextTest, OfSeveralTheBasesWithAWord) {
  dir_.Write("own/chat_template.jinja", "own");
  fs::create_directories(dir_.Path("plain"));
  options_.adapters.push_back({.dir = dir_.Path("plain"), .weight = 1.0, .source = ""});
  const auto text = TextOfMerged(options_);
  ASSERT_TRUE(text);
  EXPECT_THAT(text->files, IsEmpty());
  EXPECT_THAT(text->shown, HasSubstr(dir_.Path("own")));
}

TEST_F(MergedTextTest, AnAdapterOfOneKeepsItsFiles) {
  dir_.Write("own/chat_template.jinja", "own");
  options_.as_adapter = true;
  const auto text = TextOfMerged(options_);
  ASSERT_TRUE(text);
  EXPECT_EQ(text->files, (std::map<std::string, std::string>{{"chat_template.jinja", "own"}}));
}

// A directory of the base does not go along.
TEST_F(MergedTextTest, TheBasesTemplatesForToolsStay) {
  dir_.Write("base/chat_template.jinja", "base too");
  dir_.Write("base/additional_chat_templates/tool_use.jinja", "tools");
  MergedText text;
  EXPECT_TRUE(MissingInMerged(&text).empty());
  EXPECT_THAT(text.files.at("tokenizer_config.json"), HasSubstr("tools"));
  EXPECT_EQ(text.shown, "");
}

TEST_F(MergedTextTest, TextThatNobodyCanReadIsRefused) {
  dir_.Write("own/tokenizer_config.json", "<html>");
  const auto text = TextOfMerged(options_);
  ASSERT_FALSE(text);
  EXPECT_THAT(text.error().message, HasSubstr(dir_.Path("own")));
}

}  // namespace
}  // namespace lorry::merge
