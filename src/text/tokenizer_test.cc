#include "text/tokenizer.h"

#include <gmock/gmock.h>

#include <algorithm>
#include <sstream>
#include <thread>

#include "text/test_data.h"

namespace lorry::text {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

Tokenizer Parse(const std::string& json, const std::string& config = "") {
  Result<Tokenizer> tokenizer = Tokenizer::FromJson(json, config, "tokenizer.json");
  EXPECT_TRUE(tokenizer) << tokenizer.error().message;
  return std::move(tokenizer).value();
}

std::string LoadError(const std::string& json, const std::string& config = "") {
  const Result<Tokenizer> tokenizer = Tokenizer::FromJson(json, config, "tokenizer.json");
  return tokenizer ? "" : tokenizer.error().message;
}

std::vector<TokenId> Encode(const Tokenizer& tokenizer, std::string_view text,
                            const EncodeOptions& options = {}) {
  const auto ids = tokenizer.Encode(text, options);
  EXPECT_TRUE(ids) << ids.error().message;
  return ids.value_or(std::vector<TokenId>());
}

struct Golden {
  std::string text;
  std::vector<TokenId> ids;
};

// Texts separated by a line of its own, and a line of ids for each.
std::vector<Golden> Goldens(const std::string& ids_file) {
  const std::string separator = "\n__ggml_vocab_test__\n";
  const std::string texts = ProjectFile("texts.inp");
  std::istringstream lines(ProjectFile(ids_file));
  std::vector<Golden> goldens;
  size_t begin = 0;
  for (std::string line; std::getline(lines, line);) {
    const size_t end = texts.find(separator, begin);
    std::istringstream numbers(line);
    Golden golden{texts.substr(begin, end - begin), {}};
    for (TokenId id; numbers >> id;) golden.ids.push_back(id);
    goldens.push_back(std::move(golden));
    begin = end + separator.size();
  }
  EXPECT_EQ(goldens.size(), 46u);
  return goldens;
}

TEST(TokenizerGoldenTest, Gpt2) {
  const auto dir = OutsideDir("tokenizers/gpt2");
  if (!dir) GTEST_SKIP() << "LORRY_TEST_DATA is not set";
  const auto tokenizer = Tokenizer::Load(*dir);
  ASSERT_TRUE(tokenizer) << tokenizer.error().message;
  for (const Golden& golden : Goldens("texts.gpt2.out")) {
    EXPECT_EQ(Encode(*tokenizer, golden.text), golden.ids) << golden.text;
    EXPECT_EQ(tokenizer->Decode(golden.ids), golden.text);
  }
  EXPECT_EQ(tokenizer->vocab_size(), 50257);
}

TEST(TokenizerGoldenTest, Phi2) {
  const auto dir = OutsideDir("tokenizers/phi-2");
  if (!dir) GTEST_SKIP() << "LORRY_TEST_DATA is not set";
  const auto tokenizer = Tokenizer::Load(*dir);
  ASSERT_TRUE(tokenizer) << tokenizer.error().message;
  int same = 0;
  for (const Golden& golden : Goldens("texts.gpt2.out")) {
    // GPT-2's vocabulary and tokens for runs of white space.
    const std::vector<TokenId> ids = Encode(*tokenizer, golden.text);
    const bool has_run = std::any_of(ids.begin(), ids.end(), [](TokenId id) { return id > 50256; });
    EXPECT_TRUE(has_run || ids == golden.ids) << golden.text;
    EXPECT_EQ(tokenizer->Decode(ids), golden.text);
    same += !has_run;
  }
  EXPECT_GE(same, 35);
  EXPECT_EQ(tokenizer->eos_id(), 50256);
  EXPECT_EQ(Encode(*tokenizer, "    x"), (std::vector<TokenId>{50284, 87}));
}

TEST(TokenizerGoldenTest, Phi3Mini) {
  const auto dir = OutsideDir("tokenizers/phi-3-mini");
  if (!dir) GTEST_SKIP() << "LORRY_TEST_DATA is not set";
  const auto tokenizer = Tokenizer::Load(*dir);
  ASSERT_TRUE(tokenizer) << tokenizer.error().message;
  for (const Golden& golden : Goldens("texts.phi3.out")) {
    EXPECT_EQ(Encode(*tokenizer, golden.text), golden.ids) << golden.text;
    EXPECT_EQ(tokenizer->Decode(golden.ids), golden.text);
  }
  EXPECT_EQ(tokenizer->special_tokens().bos, "<s>");
  EXPECT_EQ(tokenizer->eos_id(), 32000);
}

// 256 bytes, each a token, and <|endoftext|>.
class ByteTokenizerTest : public testing::Test {
 protected:
  Tokenizer tokenizer_ = Parse(ProjectFile("tiny_tokenizer.json"));
};

TEST_F(ByteTokenizerTest, EveryByteIsAToken) {
  EXPECT_EQ(tokenizer_.vocab_size(), 257);
  const std::vector<TokenId> ids = Encode(tokenizer_, "aé\n");
  ASSERT_EQ(ids.size(), 4u);
  std::string bytes;
  for (const TokenId id : ids) bytes += tokenizer_.TokenBytes(id);
  EXPECT_EQ(bytes, "aé\n");
  std::vector<bool> seen(256);
  for (TokenId id = 0; id < 256; ++id) {
    ASSERT_EQ(tokenizer_.TokenBytes(id).size(), 1u) << id;
    seen[static_cast<uint8_t>(tokenizer_.TokenBytes(id)[0])] = true;
  }
  EXPECT_THAT(seen, ::testing::Each(true));
}

TEST_F(ByteTokenizerTest, SpecialTokensAreParsedOrNot) {
  EXPECT_THAT(Encode(tokenizer_, "<|endoftext|>"), ElementsAre(256));
  const auto plain = Encode(tokenizer_, "<|endoftext|>", {.parse_special_tokens = false});
  EXPECT_EQ(plain.size(), 13u);
  EXPECT_EQ(tokenizer_.Decode(plain), "<|endoftext|>");
  EXPECT_TRUE(tokenizer_.IsSpecial(256));
  EXPECT_FALSE(tokenizer_.IsSpecial(255));
  EXPECT_EQ(tokenizer_.Find("<|endoftext|>").value(), 256);
  EXPECT_EQ(tokenizer_.Find("no such token").value(), std::nullopt);
}

TEST_F(ByteTokenizerTest, SpecialTokensAreSkippedOrShown) {
  const std::vector<TokenId> ids = {tokenizer_.Find("a").value().value(), 256};
  EXPECT_EQ(tokenizer_.Decode(ids), "a");
  EXPECT_EQ(tokenizer_.Decode(ids, {.skip_special_tokens = false}), "a<|endoftext|>");
}

TEST_F(ByteTokenizerTest, IdsOutsideTheVocabularyAddNothing) {
  const std::vector<TokenId> ids = {-1, 257, 1 << 30, tokenizer_.Find("a").value().value()};
  EXPECT_EQ(tokenizer_.Decode(ids), "a");
  EXPECT_FALSE(tokenizer_.Exists(-1));
  EXPECT_FALSE(tokenizer_.Exists(257));
  EXPECT_TRUE(tokenizer_.Exists(256));
  EXPECT_THAT(tokenizer_.TokenBytes(257), IsEmpty());
}

TEST_F(ByteTokenizerTest, TextThatIsNotUtf8IsRefused) {
  const auto ids = tokenizer_.Encode("ab\xFF");
  ASSERT_FALSE(ids);
  EXPECT_EQ(ids.error().code, ErrorCode::kInvalidArgument);
  EXPECT_THAT(ids.error().message, HasSubstr("byte 2"));
  EXPECT_THAT(Encode(tokenizer_, ""), IsEmpty());
  EXPECT_EQ(Encode(tokenizer_, std::string_view("a\0b", 3)).size(), 3u);
}

TEST_F(ByteTokenizerTest, ManyThreadsShareOne) {
  std::vector<std::jthread> threads;
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([this] {
      for (int round = 0; round < 50; ++round) {
        EXPECT_EQ(tokenizer_.Decode(Encode(tokenizer_, "shared text")), "shared text");
      }
    });
  }
}

TEST(TokenizerTest, AddedTokensKeepTheIdsOfTheFile) {
  // The ids of this file leave a gap of 31,000 behind the model's four tokens.
  std::string json = ProjectFile("added-tokens.tokenizer.json");
  EXPECT_THAT(LoadError(json), HasSubstr("Merge"));  // an object, where a list must be
  json.replace(json.find("\"merges\": {}"), 12, "\"merges\": []");
  const Tokenizer tokenizer = Parse(json);
  EXPECT_EQ(tokenizer.Find("<|placeholder2|>").value(), 32003);
  EXPECT_EQ(tokenizer.TokenBytes(32003), "<|placeholder2|>");
  EXPECT_THAT(Encode(tokenizer, "<s><|placeholder2|>"), ElementsAre(1, 32003));
  EXPECT_FALSE(tokenizer.Exists(4));
  EXPECT_FALSE(tokenizer.Exists(31999));
}

constexpr std::string_view kBpe = R"({
  "version": "1.0", "truncation": {"max_length": 2, "stride": 0, "strategy": "LongestFirst",
                                   "direction": "Right"},
  "padding": {"strategy": {"Fixed": 9}, "direction": "Right", "pad_to_multiple_of": null,
              "pad_id": 0, "pad_type_id": 0, "pad_token": "<s>"},
  "added_tokens": [
    {"id": 0, "content": "<s>", "single_word": false, "lstrip": false, "rstrip": false,
     "normalized": false, "special": true}],
  "normalizer": {"type": "Sequence", "normalizers": [
    {"type": "Prepend", "prepend": "▁"},
    {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}]},
  "pre_tokenizer": null, "post_processor": POST,
  "decoder": {"type": "Sequence", "decoders": [
    {"type": "Replace", "pattern": {"String": "▁"}, "content": " "}, {"type": "ByteFallback"},
    {"type": "Fuse"}, {"type": "Strip", "content": " ", "start": 1, "stop": 0}]},
  "model": {"type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null,
            "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": true,
            "vocab": {"<s>": 0, "▁": 1, "a": 2, "b": 3, "<0xC3>": 4, "<0xA9>": 5}, "merges": []}})";

std::string Bpe(std::string_view post_processor) {
  std::string json(kBpe);
  return json.replace(json.find("POST"), 4, post_processor);
}

constexpr std::string_view kAddsBos = R"({"type": "TemplateProcessing",
  "single": [{"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
  "pair": [], "special_tokens": {"<s>": {"id": "<s>", "ids": [0], "tokens": ["<s>"]}}})";

TEST(TokenizerTest, TruncationAndPaddingOfTheFileAreIgnored) {
  const Tokenizer tokenizer = Parse(Bpe("null"));
  EXPECT_THAT(Encode(tokenizer, "abab"), ElementsAre(1, 2, 3, 2, 3));
}

TEST(TokenizerTest, ByteFallbackAndTheSpaceInFront) {
  const Tokenizer tokenizer = Parse(Bpe("null"));
  const std::vector<TokenId> ids = Encode(tokenizer, "aé b");
  EXPECT_THAT(ids, ElementsAre(1, 2, 4, 5, 1, 3));
  EXPECT_EQ(tokenizer.TokenBytes(4), "\xC3");
  EXPECT_EQ(tokenizer.Decode(ids), "aé b");
  EXPECT_EQ(tokenizer.Decode(ids, {.at_text_start = false}), " aé b");
}

TEST(TokenizerTest, AddBosTokenOfTheConfigIsObeyed) {
  const auto config = [](std::string_view add_bos, std::string_view tokenizer_class) {
    return fmt::format(R"({{"bos_token": {{"content": "<s>"}}, "eos_token": "b",
                            "add_bos_token": {}, "tokenizer_class": "{}"}})",
                       add_bos, tokenizer_class);
  };
  const auto ids = [](const Tokenizer& tokenizer) { return Encode(tokenizer, "a"); };
  EXPECT_THAT(ids(Parse(Bpe(kAddsBos))), ElementsAre(0, 1, 2));
  EXPECT_THAT(ids(Parse(Bpe(kAddsBos), config("true", "LlamaTokenizer"))), ElementsAre(0, 1, 2));
  EXPECT_THAT(ids(Parse(Bpe(kAddsBos), config("false", "LlamaTokenizer"))), ElementsAre(1, 2));
  EXPECT_THAT(ids(Parse(Bpe("null"), config("true", "LlamaTokenizerFast"))), ElementsAre(0, 1, 2));
  EXPECT_THAT(ids(Parse(Bpe("null"), config("true", "Qwen2Tokenizer"))), ElementsAre(1, 2));
  const Tokenizer tokenizer = Parse(Bpe("null"), config("true", "LlamaTokenizer"));
  EXPECT_THAT(Encode(tokenizer, "a", {.add_special_tokens = false}), ElementsAre(1, 2));
  EXPECT_EQ(tokenizer.eos_id(), 3);
}

TEST(TokenizerTest, TokensThatOnlyTheConfigKnowsAreAdded) {
  const Tokenizer tokenizer = Parse(Bpe("null"), R"({"added_tokens_decoder": {
      "0": {"content": "<s>", "special": true}, "9": {"content": "<|new|>", "special": true}}})");
  EXPECT_THAT(Encode(tokenizer, "<|new|>"), ElementsAre(9));
  EXPECT_TRUE(tokenizer.IsSpecial(9));
  EXPECT_EQ(tokenizer.vocab_size(), 10);
}

TEST(TokenizerTest, BadFilesAreErrorsThatNameThem) {
  EXPECT_THAT(LoadError(""), HasSubstr("tokenizer.json"));
  EXPECT_THAT(LoadError("[]"), HasSubstr("tokenizer.json"));
  EXPECT_THAT(LoadError("{\"version\": \"2.0\"}"), HasSubstr("2.0"));
  EXPECT_THAT(LoadError("\xFF"), HasSubstr("UTF-8"));
  EXPECT_THAT(LoadError(std::string(1 << 20, '[')), HasSubstr("tokenizer.json"));
  const std::string good = ProjectFile("tiny_tokenizer.json");
  for (size_t size = 0; size < good.size(); size += 97) {
    EXPECT_NE(LoadError(good.substr(0, size)), "") << size;
  }
}

TEST(TokenizerTest, HostileVocabulariesAreRefused) {
  std::string huge_id = Bpe("null");
  huge_id.replace(huge_id.find("\"b\": 3"), 6, "\"b\": 4294967295");
  EXPECT_THAT(LoadError(huge_id), HasSubstr("4294967295"));

  std::string huge_added_id = Bpe("null");
  huge_added_id.replace(huge_added_id.find("\"id\": 0, \"content\": \"<s>\""), 25,
                        "\"id\": 99999999, \"content\": \"<x>\"");
  EXPECT_THAT(LoadError(huge_added_id), HasSubstr("99999999"));

  std::string word_piece = Bpe("null");
  const size_t decoder = word_piece.find("{\"type\": \"Sequence\", \"decoders\"");
  word_piece.replace(decoder, word_piece.find("\"model\"") - decoder,
                     R"({"type": "WordPiece", "prefix": "##", "cleanup": true}, )");
  EXPECT_THAT(LoadError(word_piece), HasSubstr("WordPiece"));

  std::string bad_pattern = Bpe("null");
  bad_pattern.replace(bad_pattern.find("\"pre_tokenizer\": null"), 21,
                      R"("pre_tokenizer": {"type": "Split", "pattern": {"Regex": "(("},
                          "behavior": "Isolated", "invert": false})");
  EXPECT_NE(LoadError(bad_pattern), "");
}

TEST(TokenizerTest, NormalizersThatMakeTextsLongerHaveBounds) {
  const auto with = [](std::string_view step, int times) {
    std::string steps;
    for (int i = 0; i < times; ++i) steps += fmt::format("{}{}", i == 0 ? "" : ",", step);
    std::string json = Bpe("null");
    constexpr std::string_view kPrepend = R"({"type": "Prepend", "prepend": "▁"})";
    return json.replace(json.find(kPrepend), kPrepend.size(), steps);
  };
  constexpr std::string_view kDoubles =
      R"({"type": "Replace", "pattern": {"String": "a"}, "content": "aa"})";
  EXPECT_THAT(LoadError(with(kDoubles, 34)), HasSubstr("51539607552 bytes of one"));
  EXPECT_THAT(LoadError(with(R"({"type": "Prepend", "prepend": "aaaaaaaaaaaaaaaa"})", 5)),
              HasSubstr("of one; the limit is"));
  const Tokenizer tokenizer = Parse(with(kDoubles, 10));
  EXPECT_FALSE(Encode(tokenizer, "b").empty());
  const auto refused = tokenizer.Encode(std::string(1 << 17, 'b'));
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, ErrorCode::kTooLarge);
  EXPECT_THAT(refused.error().message, HasSubstr("the limit is 87380"));
}

TEST(TokenizerTest, MissingFilesAreErrorsThatNameThem) {
  const auto tokenizer = Tokenizer::Load("/no/such/dir");
  ASSERT_FALSE(tokenizer);
  EXPECT_THAT(tokenizer.error().message, HasSubstr("/no/such/dir/tokenizer.json"));
}

}  // namespace
}  // namespace lorry::text
