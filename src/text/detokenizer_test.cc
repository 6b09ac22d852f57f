#include "text/detokenizer.h"

#include <gtest/gtest.h>

#include <random>

#include "text/test_data.h"
#include "text/textkit_buffers.h"

namespace lorry::text {
namespace {

// The library's own decoding of the whole, as the judge.
std::string SlowDecode(const Tokenizer& tokenizer, const std::vector<TokenId>& ids, bool skip) {
  const std::vector<uint32_t> unsigned_ids(ids.begin(), ids.end());
  OwnedText text;
  OwnedText reason;
  EXPECT_EQ(tk_tokenizer_decode(tokenizer.backend().handle(), unsigned_ids.data(),
                                unsigned_ids.size(), skip, &text.text, &reason.text),
            TK_OK)
      << reason.view();
  return std::string(text.view());
}

std::string Streamed(const Tokenizer& tokenizer, const std::vector<TokenId>& ids, bool skip) {
  Detokenizer detokenizer(tokenizer, {.skip_special_tokens = skip, .at_text_start = true});
  std::string out;
  for (const TokenId id : ids) detokenizer.Push(id, &out);
  detokenizer.Flush(&out);
  return out;
}

Tokenizer ByteTokenizer() {
  return Tokenizer::FromJson(ProjectFile("tiny_tokenizer.json"), "", "tiny").value();
}

TEST(DetokenizerTest, HoldsUnfinishedCharacters) {
  const Tokenizer tokenizer = ByteTokenizer();
  const std::vector<TokenId> ids = tokenizer.Encode("é🙂").value();
  ASSERT_EQ(ids.size(), 6u);
  Detokenizer detokenizer(tokenizer);
  std::vector<std::string> steps;
  for (const TokenId id : ids) {
    steps.emplace_back();
    detokenizer.Push(id, &steps.back());
  }
  EXPECT_EQ(steps, (std::vector<std::string>{"", "é", "", "", "", "🙂"}));

  std::string rest;
  detokenizer.Push(ids[2], &rest);
  EXPECT_EQ(rest, "");
  detokenizer.Flush(&rest);
  EXPECT_EQ(rest, "\uFFFD");
}

TEST(DetokenizerTest, SpecialTokensDoNotTouchTheTextAroundThem) {
  const Tokenizer tokenizer = ByteTokenizer();
  const std::vector<TokenId> e = tokenizer.Encode("é").value();
  EXPECT_EQ(Streamed(tokenizer, {e[0], 256, e[1]}, true), "é");
  EXPECT_EQ(Streamed(tokenizer, {e[0], 256, e[1]}, false), "\uFFFD<|endoftext|>\uFFFD");
}

TEST(DetokenizerTest, RandomBytesDecodeAsTheLibraryDoes) {
  const Tokenizer tokenizer = ByteTokenizer();
  std::mt19937 random(3);
  for (int round = 0; round < 500; ++round) {
    std::vector<TokenId> ids(1 + random() % 60);
    for (TokenId& id : ids) id = static_cast<TokenId>(random() % 257);
    for (const bool skip : {true, false}) {
      ASSERT_EQ(Streamed(tokenizer, ids, skip), SlowDecode(tokenizer, ids, skip));
    }
  }
}

class RealVocabularyTest : public testing::TestWithParam<const char*> {};

TEST_P(RealVocabularyTest, RandomIdsDecodeAsTheLibraryDoes) {
  const auto dir = OutsideDir(std::string("tokenizers/") + GetParam());
  if (!dir) GTEST_SKIP() << "LORRY_TEST_DATA is not set";
  const Tokenizer tokenizer = Tokenizer::Load(*dir).value();
  const bool byte_fallback = tokenizer.Find("<0x00>").value().has_value();
  std::mt19937 random(5);
  for (int round = 0; round < 300; ++round) {
    std::vector<TokenId> ids;
    while (ids.size() < 40) {
      const auto id = static_cast<TokenId>(random() % tokenizer.vocab_size());
      // The library makes a whole run of byte tokens U+FFFD if one of them is wrong, which can't be
      // known before the run ends; we replace what is wrong.
      if (byte_fallback && tokenizer.TokenBytes(id).size() == 1) continue;
      ids.push_back(id);
    }
    for (const bool skip : {true, false}) {
      ASSERT_EQ(Streamed(tokenizer, ids, skip), SlowDecode(tokenizer, ids, skip));
    }
  }
}

TEST_P(RealVocabularyTest, RandomTextsComeBack) {
  const auto dir = OutsideDir(std::string("tokenizers/") + GetParam());
  if (!dir) GTEST_SKIP() << "LORRY_TEST_DATA is not set";
  const Tokenizer tokenizer = Tokenizer::Load(*dir).value();
  const std::vector<std::string> pieces = {"a",  " ",  "  ", "\n", "é", "ﷺ", "🙂",        "the",
                                           "中", "\t", "'s", "42", ".", "߿", "\U0010FFFF"};
  std::mt19937 random(11);
  for (int round = 0; round < 200; ++round) {
    std::string text;
    for (int i = 0; i < 20; ++i) text += pieces[random() % pieces.size()];
    const std::vector<TokenId> ids = tokenizer.Encode(text, {.add_special_tokens = false}).value();
    ASSERT_EQ(Streamed(tokenizer, ids, false), text);
    ASSERT_EQ(SlowDecode(tokenizer, ids, false), text);
  }
}

INSTANTIATE_TEST_SUITE_P(All, RealVocabularyTest, testing::Values("gpt2", "phi-2", "phi-3-mini"),
                         [](const auto& info) {
                           std::string name = info.param;
                           std::erase(name, '-');
                           return name;
                         });

}  // namespace
}  // namespace lorry::text
