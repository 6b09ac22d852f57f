#include "text/text_offsets.h"

#include <gtest/gtest.h>

#include <random>

#include "text/test_data.h"

namespace lorry::text {
namespace {

using Offsets = std::vector<int64_t>;

Tokenizer Tiny() {
  return Tokenizer::FromJson(
             ProjectFile("tiny_tokenizer.json"),
             R"({"added_tokens_decoder": {"300": {"content": "<s>", "special": true},
                                                          "301": {"content": "\u2581a"},
                                                          "302": {"content": "longer", "special": true,
                                                                  "lstrip": true, "rstrip": true}}})",
             "tiny")
      .value();
}

// The characters of a text, one each.
std::vector<std::string> Characters(std::string_view text) {
  std::vector<std::string> all;
  for (const char c : text) {
    if ((static_cast<unsigned char>(c) & 0xC0) != 0x80) all.emplace_back();
    all.back() += c;
  }
  return all;
}

// What a client does with an offset: text[offset:offset+len(token)].
std::string At(const std::vector<std::string>& text, int64_t offset, std::string_view token) {
  std::string found;
  const int64_t end = offset + NumCharacters(token);
  for (int64_t i = offset; i < std::min<int64_t>(end, text.size()); ++i) found += text[i];
  return found;
}

TEST(TextOffsetsTest, TokensThatTheTextDoesNotShowTakeNoRoom) {
  const Tokenizer tokenizer = Tiny();
  std::vector<TokenId> ids = tokenizer.Encode("hé!").value();
  ids.insert(ids.begin(), 300);
  EXPECT_EQ(OffsetsInText(tokenizer, ids, "hé!"), (Offsets{0, 0, 1, 2, 2}));
  EXPECT_EQ(OffsetsInText(tokenizer, ids, "<s>hé!"), (Offsets{0, 3, 4, 5, 5}));
  EXPECT_EQ(OffsetsOfDecoded(tokenizer, ids, {}), (Offsets{0, 0, 1, 2, 2}));
  EXPECT_EQ(OffsetsOfDecoded(tokenizer, ids, {.skip_special_tokens = false}),
            (Offsets{0, 3, 4, 5, 5}));
}

TEST(TextOffsetsTest, ChangedCharactersDoNotMoveTheRest) {
  const Tokenizer tokenizer = Tiny();
  const auto ids = [&](std::string_view text) { return tokenizer.Encode(text).value(); };
  // The tokenizer made small letters, composed a letter, put a space in front.
  EXPECT_EQ(OffsetsInText(tokenizer, ids("abc"), "aBc"), (Offsets{0, 1, 2}));
  EXPECT_EQ(OffsetsInText(tokenizer, ids("xéy"), "xe\u0301y"), (Offsets{0, 1, 2, 3}));
  EXPECT_EQ(OffsetsInText(tokenizer, ids(" a"), "a").back(), 0);
  // A special token has taken the spaces around it.
  std::vector<TokenId> stripped = {ids("a")[0], 302, ids("b")[0]};
  EXPECT_EQ(OffsetsInText(tokenizer, stripped, "a  longer b"), (Offsets{0, 3, 10}));
}

TEST(TextOffsetsTest, EveryTokenThatIsWholeTextStandsAtItsOffset) {
  std::vector<Tokenizer> tokenizers = {Tiny()};
  for (const char* name : {"phi-3-mini", "gpt2", "phi-2", "cl100k"}) {
    const auto dir = OutsideDir(std::string("tokenizers/") + name);
    auto loaded = dir ? Tokenizer::Load(*dir) : Tiny();
    if (loaded) tokenizers.push_back(std::move(*loaded));
  }
  std::mt19937 random(3);
  const std::vector<std::string> pieces = {"how", " many", "é",       "漢字", "🙂",     "\n", "  ",
                                           "'s",  "<s>",   "<|end|>", "x",    "\u00A0", "ﬁ"};
  for (const Tokenizer& tokenizer : tokenizers) {
    int num_whole = 0;
    for (int round = 0; round < 300; ++round) {
      std::string text;
      for (int i = 0; i < 12; ++i) text += pieces[random() % pieces.size()];
      const std::vector<TokenId> ids = tokenizer.Encode(text).value();
      const Offsets offsets = OffsetsInText(tokenizer, ids, text);
      const auto characters = Characters(text);
      ASSERT_EQ(offsets.size(), ids.size());
      for (size_t i = 0; i < ids.size(); ++i) {
        ASSERT_LE(offsets[i], static_cast<int64_t>(characters.size()));
        ASSERT_GE(offsets[i], i == 0 ? 0 : offsets[i - 1]);
        std::string token = tokenizer.Decode(std::span(&ids[i], 1), {false, false});
        const bool is_whole = token.find("\uFFFD") == std::string::npos;
        if (!is_whole || token.empty() || tokenizer.IsSpecial(ids[i])) continue;
        // SentencePiece puts a space in front, which the text lacks.
        if (At(characters, offsets[i], token) != token && token[0] == ' ') token.erase(0, 1);
        ASSERT_EQ(At(characters, offsets[i], token), token) << text << " at " << offsets[i];
        ++num_whole;
      }
    }
    EXPECT_GT(num_whole, 1'000);
  }
}

}  // namespace
}  // namespace lorry::text
