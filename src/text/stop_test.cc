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

// A token of a text; one that is hidden is special and not shown.
struct Piece {
  std::string text;
  bool is_hidden;
};

Outcome MatchPieces(const std::vector<std::string>& stops, const std::vector<Piece>& pieces) {
  StopMatcher matcher(stops);
  std::string out;
  for (const Piece& piece : pieces) {
    if (piece.is_hidden ? matcher.PushHidden(piece.text, &out) : matcher.Push(piece.text, &out)) {
      break;
    }
  }
  matcher.Flush(&out);
  return {out, matcher.matched()};
}

// The definition, after each byte: the longest stop string that either what is shown ends in, or
// all of it, then with whole hidden tokens only. The shown one counts where both are as long.
Outcome SlowPieces(const std::vector<std::string>& stops, const std::vector<Piece>& pieces) {
  std::string shown, all;
  std::vector<size_t> shown_before = {0};  // bytes of `shown` before each byte of `all`
  std::vector<bool> is_inside = {false};   // whether a hidden token goes on at it
  for (const Piece& piece : pieces) {
    for (size_t i = 0; i < piece.text.size(); ++i) {
      all += piece.text[i];
      if (!piece.is_hidden) shown += piece.text[i];
      shown_before.push_back(shown.size());
      is_inside.push_back(piece.is_hidden && i + 1 < piece.text.size());
      std::optional<size_t> best, end;
      const auto take = [&](size_t at, size_t stop_idx) {
        if (best && stops[stop_idx].size() <= stops[*best].size()) return;
        best = stop_idx;
        end = at;
      };
      for (size_t k = 0; k < stops.size(); ++k) {
        if (!piece.is_hidden && shown.ends_with(stops[k])) take(shown.size() - stops[k].size(), k);
      }
      for (size_t k = 0; k < stops.size(); ++k) {
        const size_t begin = all.size() - std::min(all.size(), stops[k].size());
        if (all.ends_with(stops[k]) && !is_inside[begin] && !is_inside.back()) {
          take(shown_before[begin], k);
        }
      }
      if (best) return {shown.substr(0, *end), best};
    }
  }
  return {shown, std::nullopt};
}

TEST(StopMatcherTest, HiddenTokensAreSeenWholeAndPassedOver) {
  const std::vector<Piece> pieces = {{"a", false}, {"<e>", true}, {"<e>", true}, {"b", false}};
  EXPECT_EQ(MatchPieces({"<e>"}, pieces), (Outcome{"a", 0}));
  EXPECT_EQ(MatchPieces({"a<e>"}, pieces), (Outcome{"", 0}));
  EXPECT_EQ(MatchPieces({"<e>b"}, pieces), (Outcome{"a", 0}));
  EXPECT_EQ(MatchPieces({"ab"}, pieces), (Outcome{"", 0}));
  EXPECT_EQ(MatchPieces({"e>"}, pieces), (Outcome{"ab", std::nullopt}));
  EXPECT_EQ(MatchPieces({"><", "e><e>", "<e><e>b"}, pieces), (Outcome{"a", 2}));
}

TEST(StopMatcherTest, HiddenTokensMatchTheDefinition) {
  std::mt19937 random(7);
  const std::vector<std::string> tokens = {"<a>", "aa", "b", "<", "a"};
  int num_matched = 0;
  for (int round = 0; round < 20'000; ++round) {
    std::vector<Piece> pieces;
    for (int i = 0; i < 8; ++i) pieces.push_back({tokens[random() % 5], random() % 3 == 0});
    std::vector<std::string> stops;
    for (int i = 0; i < 3; ++i) {
      std::string stop;
      for (int k = 0; k < 3; ++k) stop += tokens[random() % 5];
      const size_t begin = random() % stop.size();
      stops.push_back(stop.substr(begin, 1 + random() % 6));
    }
    const Outcome expected = SlowPieces(stops, pieces);
    num_matched += expected.matched.has_value();
    ASSERT_EQ(MatchPieces(stops, pieces).text, expected.text) << round;
    ASSERT_EQ(MatchPieces(stops, pieces).matched.has_value(), expected.matched.has_value());
  }
  EXPECT_GT(num_matched, 5'000);
  EXPECT_LT(num_matched, 19'000);
}

TEST(StopMatcherTest, HiddenTokensAreNotKept) {
  // A text that begins a stop string and is followed by padding without end: linear, and soon done.
  StopMatcher matcher({"aab", "<pad>b"});
  std::string out;
  matcher.Push("a", &out);
  for (int i = 0; i < 300'000; ++i) ASSERT_FALSE(matcher.PushHidden("<pad>", &out));
  EXPECT_EQ(out, "");
  EXPECT_TRUE(matcher.Push("ab", &out));
  EXPECT_EQ(out, "");
}

}  // namespace
}  // namespace lorry::text
