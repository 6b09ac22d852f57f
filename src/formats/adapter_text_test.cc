#include "formats/adapter_text.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>

#include "base/testing/sanitized.h"
#include "formats/json.h"
#include "formats/test_files.h"

namespace lorry::formats {
namespace {

using testing::HasSubstr;

constexpr char kTokenizer[] =
    R"({"version": "1.0", "truncation": null, "padding": null, "added_tokens": [
        {"id": 3, "content": "<s>", "special": true}, {"id": 4, "content": "</s>"}],
        "model": {"type": "BPE", "vocab": {"a": 0, "b": 1, "ab": 2}, "merges": ["a b"]}})";
constexpr char kConfig[] =
    R"({"bos_token": "<s>", "eos_token": {"content": "</s>", "lstrip": false},
        "pad_token": null, "added_tokens_decoder": {"3": {"content": "<s>", "special": true}},
        "chat_template": "{{ messages }}", "model_max_length": 100,
        "add_bos_token": true, "tokenizer_class": "LlamaTokenizer"})";

class AdapterTextTest : public testing::Test {
 protected:
  void SetUp() override {
    base_dir_.Write("tokenizer.json", kTokenizer);
    base_dir_.Write("tokenizer_config.json", kConfig);
    base_dir_.Write("generation_config.json", R"({"eos_token_id": 4, "temperature": 0.5})");
  }

  AdapterText OwnText() const {
    const auto base = BaseText::Read(base_dir_.path());
    EXPECT_TRUE(base) << base.error().message;
    auto text = base->OwnTextOf(adapter_dir_.path());
    EXPECT_TRUE(text) << text.error().message;
    return text.value_or(AdapterText());
  }
  boost::json::object Config() const {
    return ParseJsonObject(OwnText().config_json, "config").value();
  }
  Error Refusal() const {
    const auto text = BaseText::Read(base_dir_.path())->OwnTextOf(adapter_dir_.path());
    EXPECT_FALSE(text);
    return text ? Error() : text.error();
  }

  TempDir base_dir_;
  TempDir adapter_dir_;
};

TEST_F(AdapterTextTest, NothingAndCopiesAreNothing) {
  EXPECT_TRUE(OwnText().empty());
  adapter_dir_.Write("tokenizer.json", kTokenizer);
  adapter_dir_.Write("tokenizer_config.json", kConfig);
  adapter_dir_.Write("generation_config.json", R"({"eos_token_id": [4]})");
  EXPECT_TRUE(OwnText().empty());
}

// What transformers writes anew when a trainer saves: the order of fields, how batches were cut,
// tokens as objects, the template in a file of its own, another name of the class.
TEST_F(AdapterTextTest, ACopyWrittenAnewIsNothing) {
  adapter_dir_.Write("tokenizer.json",
                     R"({"padding": {"strategy": "BatchLongest"}, "version": "1.0",
      "truncation": {"max_length": 5},
      "model": {"type": "BPE", "vocab": {"a": 0, "b": 1, "ab": 2}, "merges": ["a b"]},
      "added_tokens": [{"id": 3, "content": "<s>", "special": true}, {"id": 4, "content": "</s>"}]})");
  adapter_dir_.Write("tokenizer_config.json",
                     R"({"tokenizer_class": "LlamaTokenizerFast", "add_bos_token": true,
                         "added_tokens_decoder": {"4": {"content": "</s>"}}})");
  adapter_dir_.Write("special_tokens_map.json",
                     R"({"bos_token": {"content": "<s>"}, "eos_token": "</s>"})");
  adapter_dir_.Write("chat_template.jinja", "{{ messages }}");
  EXPECT_TRUE(OwnText().empty()) << OwnText().config_json;
}

TEST_F(AdapterTextTest, ATemplateOfItsOwn) {
  adapter_dir_.Write("chat_template.jinja", "own");
  EXPECT_EQ(OwnText().tokenizer_json, "");
  EXPECT_EQ(OwnText().config_json, R"({"chat_template":"own"})");
  adapter_dir_.Write("tokenizer_config.json", R"({"chat_template": "not this one"})");
  EXPECT_EQ(OwnText().config_json, R"({"chat_template":"own"})");
}

TEST_F(AdapterTextTest, ATokenizerOfItsOwn) {
  std::string own = kTokenizer;
  own.replace(own.find("</s>"), 4, "<|x|>");
  adapter_dir_.Write("tokenizer.json", own);
  EXPECT_EQ(OwnText().tokenizer_json, own);
  // It has no config beside it, so the base's counts.
  EXPECT_EQ(Config().at("tokenizer").at("eos_token"), "</s>");
  adapter_dir_.Write("tokenizer_config.json", R"({"eos_token": "<|x|>"})");
  EXPECT_EQ(OwnText().config_json, R"({"tokenizer":{"eos_token":"<|x|>"}})");
}

TEST_F(AdapterTextTest, OtherRolesOfTheSameTokens) {
  adapter_dir_.Write("tokenizer_config.json", R"({"eos_token": "<s>"})");
  EXPECT_EQ(OwnText().tokenizer_json, "");
  const boost::json::object config = Config();
  EXPECT_EQ(config.at("tokenizer").at("eos_token"), "<s>");
  EXPECT_EQ(config.at("tokenizer").at("bos_token"), "<s>");
  EXPECT_FALSE(config.at("tokenizer").as_object().contains("added_tokens_decoder"));
}

TEST_F(AdapterTextTest, AddedTokensWithoutATokenizer) {
  adapter_dir_.Write("added_tokens.json", R"({"<tool>": 5, "<s>": 3})");
  EXPECT_EQ(OwnText().tokenizer_json, kTokenizer);
  const boost::json::value added = Config().at("tokenizer").at("added_tokens_decoder");
  EXPECT_EQ(added.at("5").at("content"), "<tool>");
  EXPECT_EQ(added.at("3").at("special"), true);
}

TEST_F(AdapterTextTest, OtherIdsThatEndATextAreKept) {
  adapter_dir_.Write("generation_config.json", R"({"eos_token_id": [4, 7]})");
  EXPECT_EQ(OwnText().config_json, R"({"eos_token_id":[4,7]})");
}

TEST_F(AdapterTextTest, TheDigestFollowsEveryFile) {
  const auto digest = [&] { return BaseText::Read(base_dir_.path())->digest(); };
  const uint64_t before = digest();
  EXPECT_EQ(digest(), before);
  for (const auto& [file, text] : {std::pair{"tokenizer.json", "{}"},
                                   {"tokenizer_config.json", R"({"bos_token": "x"})"},
                                   {"generation_config.json", R"({"eos_token_id": 5})"},
                                   {"chat_template.jinja", "x"}}) {
    const uint64_t last = digest();
    base_dir_.Write(file, text);
    EXPECT_NE(digest(), last) << file;
  }
}

TEST_F(AdapterTextTest, WhatCannotBeReadIsRefusedByName) {
  adapter_dir_.Write("tokenizer.json", "{\"model\":");
  EXPECT_EQ(Refusal().code, ErrorCode::kUnfit);
  EXPECT_THAT(Refusal().message, HasSubstr("tokenizer.json"));
  adapter_dir_.Write("tokenizer.json", kTokenizer);
  adapter_dir_.Write("generation_config.json", R"({"eos_token_id": "x"})");
  EXPECT_EQ(Refusal().code, ErrorCode::kUnfit);
  EXPECT_THAT(Refusal().message, HasSubstr("eos_token_id"));
  adapter_dir_.Write("generation_config.json", "{}");
  adapter_dir_.Write("chat_template.jinja", std::string(kMaxChatTemplateBytes + 1, ' '));
  EXPECT_EQ(Refusal().code, ErrorCode::kTooLarge);
  EXPECT_EQ(Refusal().param, "source");
  EXPECT_THAT(Refusal().message, HasSubstr("the limit is 262144"));
}

TEST_F(AdapterTextTest, ATemplateForToolsStandsBesideTheBases) {
  const auto templates = [](std::string_view main, std::string_view tool_use) {
    return boost::json::array{{{"name", "default"}, {"template", main}},
                              {{"name", "tool_use"}, {"template", tool_use}}};
  };
  adapter_dir_.Write("additional_chat_templates/tool_use.jinja", "tools");
  EXPECT_EQ(Config().at("chat_template"), templates("{{ messages }}", "tools"));
  adapter_dir_.Write("chat_template.jinja", "own");
  EXPECT_EQ(Config().at("chat_template"), templates("own", "tools"));
  // The base has both: a copy is nothing, in whatever form.
  base_dir_.Write("chat_template.jinja", "own");
  base_dir_.Write("additional_chat_templates/tool_use.jinja", "tools");
  EXPECT_TRUE(OwnText().empty());
}

TEST_F(AdapterTextTest, ATemplateMayBeAProcessors) {
  adapter_dir_.Write("chat_template.json", R"({"chat_template": "processor"})");
  EXPECT_EQ(Config().at("chat_template"), "processor");
}

// The most memory that this process had since it was last asked to forget that.
size_t PeakBytes() {
  std::ifstream file("/proc/self/status");
  for (std::string line; std::getline(file, line);) {
    if (line.starts_with("VmHWM:")) return std::stoul(line.substr(6)) << 10;
  }
  return 0;
}

void ForgetPeak() { std::ofstream("/proc/self/clear_refs") << "5"; }

TEST_F(AdapterTextTest, ATokenizerOfManyValuesTakesItsOwnSizeAFewTimes) {
  if (kSanitized) GTEST_SKIP() << "sanitizers take memory of their own";
  constexpr size_t kBytes = size_t{16} << 20;
  const auto base = BaseText::Read(base_dir_.path()).value();
  std::string own = kTokenizer;
  own.pop_back();
  own += R"(, "more": [)";
  own.reserve(kBytes + 8);
  while (own.size() < kBytes) own += "[1],";
  own += "0]}";
  adapter_dir_.Write("tokenizer.json", own);
  ForgetPeak();
  const size_t before = PeakBytes();
  const auto text = base.OwnTextOf(adapter_dir_.path());
  ASSERT_TRUE(text) << text.error().message;
  EXPECT_EQ(text->tokenizer_json.size(), own.size());
  // As it is read and as it is kept; a tree of it has over 200 MiB.
  EXPECT_LT(PeakBytes() - before, 4 * kBytes);
}

TEST_F(AdapterTextTest, OtherValuesAreAnotherTokenizer) {
  const std::string same = kTokenizer;
  for (const auto& [from, to] : std::initializer_list<std::pair<std::string, std::string>>{
           {"\"b\": 1", "\"b\": 1.0"},
           {"\"b\": 1", "\"b\": \"1\""},
           {"\"b\": 1", "\"b\": true"},
           {"\"b\": 1", "\"1\": \"b\""},
           {"\"b\": 1", "\"b\": 1, \"c\": null"},
           {"[\"a b\"]", "[\"a b\", []]"},
           {"[\"a b\"]", "[[\"a b\"]]"},
           {"[\"a b\"]", "{\"a b\": 0}"},
           {"[\"a b\"]", "[]"}}) {
    std::string other = same;
    other.replace(other.find(from), from.size(), to);
    adapter_dir_.Write("tokenizer.json", other);
    EXPECT_EQ(OwnText().tokenizer_json, other);
  }
  adapter_dir_.Write("tokenizer.json", same + " \n");
  EXPECT_TRUE(OwnText().empty());
  for (const std::string& wrong :
       {same + "{}", "[" + same + "]", std::string("\"{\""), same + "x"}) {
    adapter_dir_.Write("tokenizer.json", wrong);
    EXPECT_EQ(Refusal().code, ErrorCode::kUnfit);
  }
}

}  // namespace
}  // namespace lorry::formats
