#include "formats/module_pattern.h"

#include <gmock/gmock.h>

#include <chrono>
#include <string>
#include <vector>

namespace lorry::formats {
namespace {

using ::testing::HasSubstr;

bool Full(std::string_view pattern, std::string_view name) {
  Result<ModulePattern> compiled = ModulePattern::Full(pattern);
  EXPECT_TRUE(compiled.has_value()) << compiled.error().message;
  return compiled.has_value() && compiled->Matches(name);
}

bool Suffix(std::string_view pattern, std::string_view name) {
  Result<ModulePattern> compiled = ModulePattern::Suffix(pattern);
  EXPECT_TRUE(compiled.has_value()) << compiled.error().message;
  return compiled.has_value() && compiled->Matches(name);
}

TEST(ModulePatternTest, FullMatchesTheWholeName) {
  EXPECT_TRUE(Full(R"(.*\.(q|v)_proj)", "model.layers.1.self_attn.v_proj"));
  EXPECT_FALSE(Full("q_proj", "a.q_proj"));
  EXPECT_FALSE(Full("a|ab", "abc"));
  EXPECT_TRUE(
      Full("a|ab", "ab"));  // a shorter alternative that matches first does not hide the longer
  EXPECT_TRUE(Full("(?i)A.b", "a.B"));
  EXPECT_TRUE(Full(R"([]a\]]+\x2e\w{2,3})", "]a].xy"));
  EXPECT_TRUE(Full(R"(^(m)(?:odel)$)", "model"));
}

TEST(ModulePatternTest, SuffixBeginsAtADot) {
  for (const std::string pattern : {"q_proj", "(q_proj)"}) {  // the plain way and the expression
    EXPECT_TRUE(Suffix(pattern, "q_proj"));
    EXPECT_TRUE(Suffix(pattern, "a.q_proj"));
    EXPECT_FALSE(Suffix(pattern, "a.xq_proj"));
    EXPECT_FALSE(Suffix(pattern, "a.q_projx"));
    EXPECT_FALSE(Suffix(pattern, "proj"));
  }
  for (const std::string pattern : {"1.q", "(1.q)"}) {  // the dot is any character
    EXPECT_TRUE(Suffix(pattern, "a.1.q"));
    EXPECT_TRUE(Suffix(pattern, "a.1xq"));
    EXPECT_FALSE(Suffix(pattern, "a.11.q"));
  }
  EXPECT_TRUE(Suffix("^model.*", "model.x"));
  EXPECT_FALSE(Suffix("^x", "model.x"));
}

TEST(ModulePatternTest, LayerIndexIsTheFirstNumber) {
  const std::string name = "model.layers.3.experts.7.up";
  EXPECT_EQ(ModulePattern::AnyLayerIndex().Index(name), 3);
  EXPECT_EQ(ModulePattern::LayerIndex("layers")->Index(name), 3);
  EXPECT_EQ(ModulePattern::LayerIndex("experts")->Index(name), 7);
  EXPECT_EQ(ModulePattern::LayerIndex("h")->Index(name), std::nullopt);
  EXPECT_EQ(ModulePattern::AnyLayerIndex().Index("model.norm"), std::nullopt);
  EXPECT_EQ(ModulePattern::AnyLayerIndex().Index("a.b.99999999999999999999.c"), std::nullopt);
}

TEST(ModulePatternTest, RefusesWhatPythonReadsDifferently) {
  for (const std::string pattern :
       {"(?=a)",    "(?!a)",        "(?<=a)",   "(?<!a)",      R"((a)\1)",
        "(?P<x>a)", "(?P=x)",       "(?>a)",    "(?(1)a|b)",   "(?#c)",
        "(?U)a",    "(?-i:a)",      "a(?i)b",   "[[:alpha:]]", "a{,3}",
        R"(\pN)",   R"(\p{Greek})", R"(\Qa\E)", R"(\C)",       R"(\z)",
        R"(\Z)",    R"(\x{41})",    R"(\x4)",   R"(\0)",       R"(\u0041)",
        R"([\b])",  "\xc3\xa9",     "(",        ")",           "[",
        "*a",       "a**",          "a*+",      "a{2}{3}",     "\\",
        "a{1001}"}) {
    const auto compiled = ModulePattern::Full(pattern);
    ASSERT_FALSE(compiled.has_value()) << pattern;
    EXPECT_THAT(compiled.error().message, HasSubstr("the regular expression")) << pattern;
  }
  EXPECT_FALSE(ModulePattern::Suffix("(?i)q").has_value());  // Python: flags must lead
}

// Patterns that take a backtracking matcher for ever, or its stack.
TEST(ModulePatternTest, HostilePatternsAreQuick) {
  const auto start = std::chrono::steady_clock::now();
  EXPECT_FALSE(Full("(a+)+b", std::string(500, 'a')));
  EXPECT_FALSE(Full("(.*)*(.*)*(.*)*x", std::string(500, 'a')));
  std::string nested = "a";
  for (int i = 0; i < 1000; ++i) nested = "(" + nested + ")*";
  (void)ModulePattern::Full(nested);  // compiled or refused, it must come back
  EXPECT_FALSE(ModulePattern::Full(std::string(5000, 'a')).has_value());
  EXPECT_FALSE(ModulePattern::Full("((a{1,1000}){1,1000}){1,1000}").has_value());
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(5));
}

}  // namespace
}  // namespace lorry::formats
