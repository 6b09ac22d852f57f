#include "text/model_text.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace lorry::text {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

// Words "a" and "b", <s> and </s>; the rest is unknown.
std::string TokenizerJson(const std::string& more_added = "") {
  return R"({"added_tokens": [{"id": 3, "content": "<s>", "single_word": false, "lstrip": false,
      "rstrip": false, "normalized": false, "special": true},
      {"id": 4, "content": "</s>", "single_word": false, "lstrip": false,
      "rstrip": false, "normalized": false, "special": true})" +
         more_added + R"(], "pre_tokenizer": {"type": "WhitespaceSplit"},
      "model": {"type": "WordLevel", "vocab": {"[UNK]": 0, "a": 1, "b": 2}, "unk_token": "[UNK]"}})";
}

ModelText Base(std::optional<std::string> source = "{{ bos_token }}{{ messages[0].content }}") {
  auto tokenizer =
      Tokenizer::FromJson(TokenizerJson(), R"({"bos_token": "<s>", "eos_token": "</s>"})", "base");
  EXPECT_TRUE(tokenizer) << tokenizer.error().message;
  std::optional<ChatTemplate> chat_template;
  if (source) {
    auto made = ChatTemplate::FromSource(*source, tokenizer->special_tokens(), "base");
    EXPECT_TRUE(made) << made.error().message;
    chat_template = std::move(*made);
  }
  return {std::move(*tokenizer), std::move(chat_template)};
}

std::vector<TokenId> ChatIds(const ModelText& text) {
  const Chat chat = {.messages_json = R"([{"role": "user", "content": "a b"}])"};
  auto rendered = text.chat_template->RenderAndEncode(chat, text.tokenizer);
  EXPECT_TRUE(rendered) << rendered.error().message;
  return rendered ? rendered->ids : std::vector<TokenId>();
}

TEST(ModelTextTest, ATemplateAloneSharesTheTokens) {
  const ModelText base = Base();
  const auto text = ChangeText(base, "", R"({"chat_template": "b {{ eos_token }}"})", InProcess());
  ASSERT_TRUE(text) << text.error().message;
  EXPECT_EQ(&(*text)->tokenizer.backend(), &base.tokenizer.backend());
  EXPECT_THAT(ChatIds(**text), ElementsAre(2, 4));
  EXPECT_THAT(ChatIds(base), ElementsAre(3, 1, 2));
  EXPECT_THAT((*text)->eos_ids, ElementsAre());
}

TEST(ModelTextTest, OtherRolesShareTheTokensAndReachTheBasesTemplate) {
  const ModelText base = Base();
  const auto text = ChangeText(
      base, "", R"({"tokenizer": {"bos_token": "</s>", "eos_token": "<s>"}, "eos_token_id": [2]})",
      InProcess());
  ASSERT_TRUE(text) << text.error().message;
  EXPECT_EQ(&(*text)->tokenizer.backend(), &base.tokenizer.backend());
  EXPECT_THAT(ChatIds(**text), ElementsAre(4, 1, 2));
  EXPECT_THAT((*text)->eos_ids, ElementsAre(2, 3));
}

TEST(ModelTextTest, ATokenizerOfItsOwn) {
  const std::string own = TokenizerJson(
      R"(, {"id": 5, "content": "<tool>", "single_word": false, "lstrip": false, "rstrip": false,
           "normalized": false, "special": false})");
  const auto text = ChangeText(
      Base(), own, R"({"tokenizer": {"bos_token": "<tool>", "eos_token": "</s>"}})", InProcess());
  ASSERT_TRUE(text) << text.error().message;
  EXPECT_EQ((*text)->tokenizer.vocab_size(), 6);
  EXPECT_THAT(*(*text)->tokenizer.Encode("a<tool>b"), ElementsAre(1, 5, 2));
  EXPECT_THAT(ChatIds(**text), ElementsAre(5, 1, 2));
  EXPECT_EQ((*text)->max_token_bytes, 7u);  // with the space before a word
}

TEST(ModelTextTest, ABaseWithoutATemplateMayHaveAdaptersWithOne) {
  const ModelText base = Base(std::nullopt);
  EXPECT_FALSE((*ChangeText(base, "", R"({"eos_token_id": [1]})", InProcess()))->chat_template);
  const auto text = ChangeText(
      base, "", R"({"chat_template": [{"name": "default", "template": "a"}]})", InProcess());
  ASSERT_TRUE(text) << text.error().message;
  EXPECT_THAT(ChatIds(**text), ElementsAre(1));
}

TEST(ModelTextTest, WhatDoesNotCompileIsUnfit) {
  for (const auto& [tokenizer, config, says] :
       {std::tuple{"{}", "", "tokenizer.json"},
        {"", R"({"tokenizer": {"bos_token": 5}})", "bos_token"},
        {"", R"({"chat_template": 5})", "chat_template"},
        {"", R"({"chat_template": []})", "no default"},
        {"", R"({"chat_template": "{% if %}"})", "chat template"},
        {"", R"({"eos_token_id": ["x"]})", "eos_token_id"}}) {
    const auto text = ChangeText(Base(), tokenizer, config, InProcess());
    ASSERT_FALSE(text) << says;
    EXPECT_EQ(text.error().code, ErrorCode::kUnfit);
    EXPECT_THAT(text.error().message, HasSubstr(says));
  }
}

}  // namespace
}  // namespace lorry::text
