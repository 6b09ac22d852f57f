#include "text/stop.h"

#include <gtest/gtest.h>

#include <random>

namespace lorry::text {
namespace {

struct Outcome {
  std::string text;
  std::optional<size_t> matched;
  bool operator==(const Outcome&) const = default;
};

std::ostream& operator<<(std::ostream& os, const Outcome& o) {
  return os << '"' << o.text << "\" " << (o.matched ? static_cast<int>(*o.matched) : -1);
}

// Pushes `text` cut into pieces of the given size.
Outcome Match(const std::vector<std::string>& stops, std::string_view text, size_t piece,
              bool include = false) {
  StopMatcher matcher(stops, include);
  std::string out;
  for (size_t at = 0; at < text.size(); at += piece) {
    if (matcher.Push(text.substr(at, piece), &out)) break;
  }
  matcher.Flush(&out);
  return {out, matcher.matched()};
}

// The definition: the stop that ends first, of those the longest, by trying every one everywhere.
Outcome Slow(const std::vector<std::string>& stops, std::string_view text, bool include) {
  for (size_t end = 1; end <= text.size(); ++end) {
    std::optional<size_t> best;
    for (size_t i = 0; i < stops.size(); ++i) {
      if (stops[i].empty() || !text.substr(0, end).ends_with(stops[i])) continue;
      if (!best || stops[i].size() > stops[*best].size()) best = i;
    }
    if (best) {
      return {std::string(text.substr(0, include ? end : end - stops[*best].size())), best};
    }
  }
  return {std::string(text), std::nullopt};
}

TEST(StopMatcherTest, CutsBeforeOrAfterTheStop) {
  for (const size_t piece : {1, 2, 3, 100}) {
    EXPECT_EQ(Match({"\n\n", "###"}, "one\ntwo\n\nthree", piece), (Outcome{"one\ntwo", 0}));
    EXPECT_EQ(Match({"\n\n", "###"}, "one ## ###", piece, true), (Outcome{"one ## ###", 1}));
    EXPECT_EQ(Match({"xyz"}, "ends in xy", piece), (Outcome{"ends in xy", std::nullopt}));
  }
}

TEST(StopMatcherTest, HoldsBackOnlyWhatMayBeginAStop) {
  StopMatcher matcher({"STOP", "OPEN"});
  std::string out;
  EXPECT_FALSE(matcher.Push("go STO", &out));
  EXPECT_EQ(out, "go ");
  EXPECT_TRUE(matcher.Push("P", &out));
  EXPECT_EQ(matcher.matched(), 0u);
}

TEST(StopMatcherTest, ReleasesTextThatTurnsOutHarmless) {
  StopMatcher matcher({"abac"});
  std::string out;
  EXPECT_FALSE(matcher.Push("aba", &out));
  EXPECT_EQ(out, "");
  EXPECT_FALSE(matcher.Push("b", &out));
  EXPECT_EQ(out, "ab");  // "ab" may begin it anew
  EXPECT_TRUE(matcher.Push("ac tail", &out));
  EXPECT_EQ(out, "ab");
  EXPECT_TRUE(matcher.Push("more", &out));
  EXPECT_EQ(out, "ab");
}

TEST(StopMatcherTest, EmptyStopsMatchNothing) {
  EXPECT_EQ(Match({""}, "text", 2), (Outcome{"text", std::nullopt}));
  EXPECT_EQ(Match({}, "text", 2), (Outcome{"text", std::nullopt}));
}

TEST(StopMatcherTest, AgreesWithTheDefinitionHoweverTheTextIsCut) {
  std::mt19937 random(7);
  const auto word = [&](size_t max_size) {
    std::string text;
    for (size_t i = 0, n = random() % (max_size + 1); i < n; ++i) text += "ab\xC3"[random() % 3];
    return text;
  };
  for (int round = 0; round < 3000; ++round) {
    std::vector<std::string> stops;
    for (size_t i = 0, n = 1 + random() % 3; i < n; ++i) stops.push_back(word(6));
    const std::string text = word(40);
    const bool include = random() % 2;
    const Outcome expected = Slow(stops, text, include);
    for (const size_t piece : {1, 3, 40}) ASSERT_EQ(Match(stops, text, piece, include), expected);
  }
}

}  // namespace
}  // namespace lorry::text
