#include "formats/module_pattern.h"

#include <gmock/gmock.h>

#include <chrono>
#include <string>
#include <vector>

namespace lorry::formats {
namespace {

using ::testing::HasSubstr;

bool Full(std::string_view pattern, std::string_view name) {
  MatchBudget budget;
  Result<ModulePattern> compiled = ModulePattern::Full(pattern, budget);
  EXPECT_TRUE(compiled.has_value()) << compiled.error().message;
  return compiled.has_value() && compiled->Matches(name, budget);
}

bool Suffix(std::string_view pattern, std::string_view name) {
  MatchBudget budget;
  Result<ModulePattern> compiled = ModulePattern::Suffix(pattern, budget);
  EXPECT_TRUE(compiled.has_value()) << compiled.error().message;
  return compiled.has_value() && compiled->Matches(name, budget);
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
  MatchBudget budget;
  const auto index = [&](const ModulePattern& pattern, std::string_view text) {
    return pattern.FindLayer(text, budget).index;
  };
  EXPECT_EQ(index(ModulePattern::AnyLayerIndex(budget), name), 3);
  EXPECT_EQ(index(*ModulePattern::LayerIndex("layers", budget), name), 3);
  EXPECT_EQ(index(*ModulePattern::LayerIndex("experts", budget), name), 7);
  EXPECT_FALSE(ModulePattern::LayerIndex("h", budget)->FindLayer(name, budget).matched);
  EXPECT_FALSE(ModulePattern::AnyLayerIndex(budget).FindLayer("model.norm", budget).matched);
  EXPECT_EQ(index(ModulePattern::AnyLayerIndex(budget), "a.b.99999999999999999999.c"),
            std::nullopt);
  // The alternative without the number matches, and so decides that there is none.
  const auto half = ModulePattern::LayerIndex("model|h", budget)->FindLayer(name, budget);
  EXPECT_TRUE(half.matched);
  EXPECT_EQ(half.index, std::nullopt);
}

TEST(ModulePatternTest, RefusesByName) {
  MatchBudget budget;
  for (const auto& [pattern, why] : std::vector<std::pair<std::string, std::string>>{
           {"(?<=a|bc)d", "look-behind requires fixed-width"},
           {R"(\z)", "bad escape"},
           {"(?<n>a)", "unknown extension (?<"},
           {"a{70000}", "the limit is 65535"},
           {"\xc3\xa9", "beyond ASCII"},
           {R"((?:(a)|b)*\1)", "a group that is repeated"},
           {"(", "unterminated"},
           {"a**", "multiple repeat"},
           {"[b-a]", "bad character range"}}) {
    const auto compiled = ModulePattern::Full(pattern, budget);
    ASSERT_FALSE(compiled.has_value()) << pattern;
    EXPECT_THAT(compiled.error().message, HasSubstr("the regular expression")) << pattern;
    EXPECT_THAT(compiled.error().message, HasSubstr(why)) << pattern;
  }
  EXPECT_FALSE(ModulePattern::Suffix("(?i)q", budget).has_value());  // Python: flags must lead
}

// Patterns that take a backtracking matcher for ever, or its memory: an error that names the
// expression and the limit, and no more time for any name after that.
TEST(ModulePatternTest, HostilePatternsAreQuick) {
  const auto start = std::chrono::steady_clock::now();
  for (const std::string pattern : {"(a+)+[bc]", "(.*)*(.*)*(.*)*[xy]", "(a|a)*[bc]",
                                    "(?:a?){60}a{490}[bc]", R"((?=(a+)+b).*|(a*)*\.)"}) {
    MatchBudget budget;
    const auto compiled = ModulePattern::Full(pattern, budget);
    ASSERT_TRUE(compiled.has_value()) << compiled.error().message;
    for (int i = 0; i < 1000; ++i) {
      EXPECT_FALSE(compiled->Matches(std::string(500, 'a'), budget));
    }
    ASSERT_FALSE(budget.Check()) << pattern;
    EXPECT_EQ(budget.Check().error().code, ErrorCode::kTooLarge);
    EXPECT_THAT(budget.Check().error().message, HasSubstr("the regular expression"));
  }
  MatchBudget budget;
  std::string nested = "a";
  for (int i = 0; i < 1000; ++i) nested = "(" + nested + ")*";
  EXPECT_FALSE(ModulePattern::Full(nested, budget).has_value());
  EXPECT_FALSE(ModulePattern::Full(std::string(5000, 'a'), budget).has_value());
  EXPECT_FALSE(ModulePattern::Full("((a{1,1000}){1,1000}){1,1000}", budget).has_value());
  // Small ones that compile to much, and many of them.
  Result<ModulePattern> last = ModulePattern::Full("a", budget);
  int num_compiled = 0;
  while (last.has_value() && ++num_compiled < 8192) {
    last = ModulePattern::Full("(a{1,50}b){1,50}", budget);
  }
  ASSERT_FALSE(last.has_value());
  EXPECT_THAT(last.error().message, HasSubstr("16777216 bytes together"));
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(20));
}

}  // namespace
}  // namespace lorry::formats
