#include "text/testing/random_tokenizer.h"

#include <fmt/format.h>

#include <array>
#include <boost/json/serialize.hpp>
#include <boost/json/string.hpp>
#include <boost/json/value.hpp>
#include <random>

namespace lorry::text {
namespace {

constexpr int kMaxDepth = 2;

constexpr std::array<std::string_view, 14> kShort = {"a", "",  " ", "b", "ab",   "é",      "\n",
                                                     "▁", "Ġ", "1", "A", "</s>", "\u0301", "🙂"};

// Ordinary patterns of real tokenizers, and what takes squares, powers, or matches nothing.
constexpr std::array<std::string_view, 22> kRegexes = {
    "\\s+",
    "a",
    "^",
    "$",
    "",
    "\\p{L}+\\p{N}",
    "(a+)+$",
    "(?:a|a)*b",
    "(.*)*\\d",
    "(a?){30}a{30}",
    "\\w+|[^\\w\\s]+",
    "'s|'t| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+",
    "(?i:'s|'t)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}",
    "(?<=a)b",
    "(?=a)",
    "(\\w+)\\s\\1",
    "[^b]*b",
    ".",
    "(?:)*",
    "(?<n>a\\g<n>?b)",
    "\\X",
    "((a{1,100}){1,100}){1,100}"};

constexpr std::array<std::string_view, 5> kBehaviors = {"Removed", "Isolated", "MergedWithPrevious",
                                                        "MergedWithNext", "Contiguous"};

constexpr std::array<std::string_view, 4> kSchemes = {"first", "never", "always", "first"};

}  // namespace

std::vector<uint8_t> RandomTokenizer::Choices(uint64_t seed) {
  std::mt19937_64 random(seed);
  std::vector<uint8_t> choices(2000);
  for (uint8_t& choice : choices) choice = static_cast<uint8_t>(random());
  return choices;
}

uint32_t RandomTokenizer::Choose(uint32_t num_choices) {
  if (choices_.empty()) return 0;
  const uint32_t choice = choices_.front() % num_choices;
  choices_ = choices_.subspan(1);
  return choice;
}

std::string_view RandomTokenizer::OneOf(std::span<const std::string_view> texts) {
  return texts[Choose(static_cast<uint32_t>(texts.size()))];
}

std::string RandomTokenizer::Repeated() {
  constexpr std::array<int, 5> kTimes = {1, 2, 3, 1, 1000};
  const std::string_view text = OneOf(kShort);
  std::string repeated;
  for (int i = kTimes[Choose(kTimes.size())]; i > 0; --i) repeated += text;
  return repeated;
}

std::string RandomTokenizer::Quoted(std::string_view text) {
  return boost::json::serialize(boost::json::value(text));
}

std::string RandomTokenizer::Pattern() {
  return Flip() ? fmt::format(R"({{"String":{}}})", Quoted(OneOf(kShort)))
                : fmt::format(R"({{"Regex":{}}})", Quoted(OneOf(kRegexes)));
}

std::string RandomTokenizer::Normalizer(int depth) {
  switch (Choose(depth < kMaxDepth ? 16 : 13)) {
    case 0:
      return fmt::format(
          R"({{"type":"BertNormalizer","clean_text":{},"handle_chinese_chars":{},"strip_accents":{},"lowercase":{}}})",
          Bool(), Bool(), Bool(), Bool());
    case 1:
      return fmt::format(R"({{"type":"Strip","strip_left":{},"strip_right":{}}})", Bool(), Bool());
    case 2:
      return R"({"type":"StripAccents"})";
    case 3:
      return R"({"type":"NFC"})";
    case 4:
      return R"({"type":"NFD"})";
    case 5:
      return R"({"type":"NFKC"})";
    case 6:
      return R"({"type":"NFKD"})";
    case 7:
      return R"({"type":"Lowercase"})";
    case 8:
      return R"({"type":"Nmt"})";
    case 9:
      return fmt::format(R"({{"type":"Prepend","prepend":{}}})", Quoted(Repeated()));
    case 10:
      return R"({"type":"ByteLevel"})";
    case 11:  // of characters that are none, or of a table cut short
      return fmt::format(R"({{"type":"Precompiled","precompiled_charsmap":"{}"}})",
                         Flip() ? "AAAAAA==" : "ALQCAACEAAAAAACAAQAAgMz8AgC4BQ==");
    case 12:
      return fmt::format(R"({{"type":"Replace","pattern":{},"content":{}}})", Pattern(),
                         Quoted(Repeated()));
    default: {
      std::string steps;
      const std::string repeated = Normalizer(depth + 1);
      const uint32_t num_same = Choose(8) == 0 ? 34 : 1;
      for (uint32_t i = 0; i < num_same; ++i) steps += repeated + ",";
      for (uint32_t i = Choose(4); i > 0; --i) steps += Normalizer(depth + 1) + ",";
      steps.pop_back();
      return fmt::format(R"({{"type":"Sequence","normalizers":[{}]}})", steps);
    }
  }
}

std::string RandomTokenizer::PreTokenizer(int depth) {
  switch (Choose(depth < kMaxDepth ? 15 : 12)) {
    case 0:
      return R"({"type":"BertPreTokenizer"})";
    case 1:
      return fmt::format(
          R"({{"type":"ByteLevel","add_prefix_space":{},"trim_offsets":{},"use_regex":{}}})",
          Bool(), Bool(), Bool());
    case 2:
      return R"({"type":"CharDelimiterSplit","delimiter":"a"})";
    case 3:
      return fmt::format(
          R"({{"type":"Metaspace","replacement":"▁","prepend_scheme":"{}","split":{}}})",
          OneOf(kSchemes), Bool());
    case 4:
      return R"({"type":"Whitespace"})";
    case 5:
      return R"({"type":"WhitespaceSplit"})";
    case 6:
      return fmt::format(R"({{"type":"Punctuation","behavior":"{}"}})", OneOf(kBehaviors));
    case 7:
      return fmt::format(R"({{"type":"Digits","individual_digits":{}}})", Bool());
    case 8:
      return R"({"type":"UnicodeScripts"})";
    case 9:
      return fmt::format(R"({{"type":"FixedLength","length":{}}})", Choose(4));
    case 10:
    case 11:
      return fmt::format(R"({{"type":"Split","pattern":{},"behavior":"{}","invert":{}}})",
                         Pattern(), OneOf(kBehaviors), Bool());
    default: {
      std::string steps;
      for (uint32_t i = 1 + Choose(3); i > 0; --i) steps += PreTokenizer(depth + 1) + ",";
      if (Choose(8) == 0) {
        const std::string repeated = PreTokenizer(kMaxDepth);
        for (int i = 0; i < 30; ++i) steps += repeated + ",";
      }
      steps.pop_back();
      return fmt::format(R"({{"type":"Sequence","pretokenizers":[{}]}})", steps);
    }
  }
}

std::string RandomTokenizer::Model() {
  const std::string_view unknown = Flip() ? "[UNK]" : "absent";
  constexpr std::string_view kVocab =
      R"({"[UNK]":0,"a":1,"b":2,"ab":3,"aa":4,"aaaa":5,"Ġ":6,"▁":7,"##a":8,"##b":9,"Ã":10,"©":11,"<0x61>":12,"<0xC3>":13,"<0xA9>":14,"a</w>":15,"1":16})";
  switch (Choose(4)) {
    case 0: {
      constexpr std::array<std::string_view, 3> kMerges = {R"(["a b","a a","aa aa"])", "[]",
                                                           R"([["a","b"],["a","a"]])"};
      constexpr std::array<std::string_view, 4> kAffix = {"null", "\"##\"", "\"\"", "\"</w>\""};
      constexpr std::array<std::string_view, 4> kDropout = {"null", "0.5", "null", "1.0"};
      const std::string_view merges = OneOf(kMerges), dropout = OneOf(kDropout);
      const std::string_view prefix = Choose(4) == 0 ? OneOf(kAffix) : kAffix[0];
      const std::string_view suffix = Choose(4) == 0 ? OneOf(kAffix) : kAffix[0];
      return fmt::format(
          R"({{"type":"BPE","dropout":{},"unk_token":{},"continuing_subword_prefix":{},"end_of_word_suffix":{},"fuse_unk":{},"byte_fallback":{},"ignore_merges":{},"vocab":{},"merges":{}}})",
          dropout, Flip() ? "null" : Quoted(unknown), prefix, suffix, Bool(), Bool(), Bool(),
          kVocab, merges);
    }
    case 1:
      return fmt::format(
          R"({{"type":"WordPiece","unk_token":"{}","continuing_subword_prefix":{},"max_input_chars_per_word":{},"vocab":{}}})",
          unknown, Flip() ? "\"##\"" : "\"\"", Flip() ? "100" : "1000000000", kVocab);
    case 2:
      return fmt::format(R"({{"type":"WordLevel","unk_token":"{}","vocab":{}}})", unknown, kVocab);
    default:
      return fmt::format(
          R"({{"type":"Unigram","unk_id":{},"byte_fallback":{},"vocab":[["<unk>",0.0],["a",-1.5],["aa",-2.0],["▁",-3],["▁a",-2.5],["b",{}],["<0xC3>",-9]]}})",
          Flip() ? "0" : "null", Bool(), Flip() ? "-1e308" : "1.0");
  }
}

std::string RandomTokenizer::PostProcessor(int depth) {
  constexpr std::array<std::string_view, 4> kIds = {"1", "0", "3", "4000000000"};
  switch (Choose(depth < kMaxDepth ? 7 : 6)) {
    case 0:
      return "null";
    case 1:
      return fmt::format(R"({{"type":"BertProcessing","sep":["b",{}],"cls":["a",{}]}})",
                         OneOf(kIds), OneOf(kIds));
    case 2:
      return fmt::format(
          R"({{"type":"RobertaProcessing","sep":["b",{}],"cls":["a",2],"trim_offsets":{},"add_prefix_space":{}}})",
          OneOf(kIds), Bool(), Bool());
    case 3:
      return fmt::format(
          R"({{"type":"ByteLevel","add_prefix_space":{},"trim_offsets":{},"use_regex":{}}})",
          Bool(), Bool(), Bool());
    case 4:
    case 5: {
      const std::string special = R"({"SpecialToken":{"id":"x","type_id":0}},)";
      const std::string whole = R"({"Sequence":{"id":"A","type_id":0}},)";
      std::string single;
      for (uint32_t i = Choose(3); i > 0; --i) single += special;
      single += whole;
      if (Choose(4) == 0) single += whole + whole;
      if (Choose(8) == 0) {
        for (int i = 0; i < 1000; ++i) single += special;
      }
      single.pop_back();
      return fmt::format(
          R"({{"type":"TemplateProcessing","single":[{}],"pair":[{{"Sequence":{{"id":"A","type_id":0}}}},{{"Sequence":{{"id":"B","type_id":1}}}}],"special_tokens":{{"x":{{"id":"x","ids":[1,2],"tokens":["a","b"]}}}}}})",
          single);
    }
    default: {
      std::string steps;
      for (uint32_t i = 1 + Choose(3); i > 0; --i) {
        const std::string step = PostProcessor(depth + 1);
        if (step != "null") steps += step + ",";
      }
      if (!steps.empty()) steps.pop_back();
      return fmt::format(R"({{"type":"Sequence","processors":[{}]}})", steps);
    }
  }
}

std::string RandomTokenizer::Decoder(int depth) {
  switch (Choose(depth < kMaxDepth ? 16 : 12)) {
    case 0:
      return "null";
    case 1:
    case 2:
      return R"({"type":"ByteLevel","add_prefix_space":true,"trim_offsets":true,"use_regex":true})";
    case 3:
      return R"({"type":"ByteFallback"})";
    case 4:
      return R"({"type":"Fuse"})";
    case 5:
      return fmt::format(
          R"({{"type":"Metaspace","replacement":"▁","prepend_scheme":"{}","split":true}})",
          OneOf(kSchemes));
    case 6:
      return fmt::format(R"({{"type":"Strip","content":" ","start":{},"stop":0}})", Choose(2));
    case 7:
      return R"({"type":"ByteFallback"})";
    case 8:
    case 9:
    case 10:
      return fmt::format(R"({{"type":"Replace","pattern":{},"content":{}}})", Pattern(),
                         Quoted(Repeated()));
    case 11:
      switch (Choose(12)) {
        case 0:
          return R"({"type":"BPEDecoder","suffix":"</w>"})";
        case 1:
          return R"({"type":"WordPiece","prefix":"##","cleanup":true})";
        case 2:
          return R"({"type":"CTC","pad_token":"a","word_delimiter_token":"b","cleanup":true})";
        default:
          return R"({"type":"Fuse"})";
      }
    default: {
      std::string steps;
      for (uint32_t i = Choose(4); i > 0; --i) {
        const std::string step = Decoder(depth + 1);
        if (step != "null") steps += step + ",";
      }
      if (Choose(8) == 0) {
        for (int i = 0; i < 34; ++i) {
          steps += R"({"type":"Replace","pattern":{"String":"a"},"content":"aa"},)";
        }
      }
      if (!steps.empty()) steps.pop_back();
      return fmt::format(R"({{"type":"Sequence","decoders":[{}]}})", steps);
    }
  }
}

std::string RandomTokenizer::AddedTokens() {
  std::string tokens;
  for (uint32_t i = Choose(4); i > 0; --i) {
    const std::string content =
        Choose(4) == 0 ? std::string(OneOf(kShort)) : fmt::format("<{}>", i);
    const uint32_t id = Choose(16) == 0 ? 4'000'000 + Choose(2) * 400'000 : 100 + i;
    tokens += fmt::format(
        R"({{"id":{},"content":{},"single_word":{},"lstrip":{},"rstrip":{},"normalized":{},"special":{}}},)",
        id, Quoted(content), Bool(), Bool(), Bool(), Bool(), Bool());
  }
  if (!tokens.empty()) tokens.pop_back();
  return tokens;
}

std::string RandomTokenizer::Json() {
  return fmt::format(
      R"({{"version":"1.0","truncation":null,"padding":null,"added_tokens":[{}],"normalizer":{},"pre_tokenizer":{},"model":{},"post_processor":{},"decoder":{}}})",
      AddedTokens(), Flip() ? "null" : Normalizer(0), Flip() ? "null" : PreTokenizer(0), Model(),
      PostProcessor(0), Decoder(0));
}

std::string RandomTokenizer::Text(int number) {
  const auto times = [](std::string_view text, size_t count) {
    std::string repeated;
    for (size_t i = 0; i < count; ++i) repeated += text;
    return repeated;
  };
  switch (number) {
    case 0:
      return "";
    case 1:
      return "a";
    case 2:
      return times("a", 64) + "!";
    case 3:
      return times("a", 20'000);
    case 4:
      return times("a ", 10'000);
    case 5:
      return times(" ", 20'000);
    case 6:
      return times("é", 10'000);
    case 7:
      return "e" + times("\u0301", 10'000);  // one character of many marks
    case 8:
      return times("ﷺ", 3'000);  // eighteen characters by compatibility
    case 9:
      return times("<1>", 5'000);
    case 10:
      return times("<1", 5'000);
    case 11:
      return times("🙂\u200d", 3'000);
    case 12:
      return times("\n", 20'000);
    case 13:
      return times("1234567890", 2'000);
    case 14:
      return times("한글 中文 ไทย ", 1'000);
    case 15:
      return times("abba", 5'000) + "\\";
    case 16:
      return std::string(1'000, '\0');
    case 17:
      return times("ab", 100'000);
    case 18: {
      std::string text;
      while (text.size() < 2'000 && !choices_.empty()) text += Repeated();
      return text;
    }
    default:
      return times("the quick brown fox jumps over the lazy dog. ", 2'000);
  }
}

}  // namespace lorry::text
