#include "formats/python_regex.h"

#include <gtest/gtest.h>

#include <boost/json/value_from.hpp>
#include <cstdlib>

#include "formats/json.h"
#include "formats/module_pattern.h"
#include "formats/test_files.h"

namespace lorry::formats {
namespace {

Result<ModulePattern> Compile(std::string_view frame, std::string_view pattern,
                              MatchBudget& budget) {
  if (frame == "full") return ModulePattern::Full(pattern, budget);
  if (frame == "suffix") return ModulePattern::Suffix(pattern, budget);
  if (frame == "subtree") return ModulePattern::Subtree(pattern, budget);
  return ModulePattern::LayerIndex(pattern, budget);
}

// Indices of the names that match.
std::vector<int64_t> Matches(const ModulePattern& pattern, const std::vector<std::string>& names,
                             MatchBudget& budget) {
  std::vector<int64_t> matches;
  for (size_t i = 0; i < names.size(); ++i) {
    if (pattern.Matches(names[i], budget)) matches.push_back(static_cast<int64_t>(i));
  }
  return matches;
}

// The same with the numbers of layers, as Python wrote it down.
boost::json::object Layers(const ModulePattern& pattern, const std::vector<std::string>& names,
                           MatchBudget& budget) {
  boost::json::object layers;
  for (size_t i = 0; i < names.size(); ++i) {
    const ModulePattern::Layer layer = pattern.FindLayer(names[i], budget);
    if (!layer.matched) continue;
    boost::json::value& index = layers[std::to_string(i)];
    if (layer.index) index = *layer.index;
  }
  return layers;
}

struct Tally {
  size_t same = 0;
  size_t invalid = 0;                // to Python too
  std::vector<std::string> refused;  // valid to Python
};

// Every pattern of the file means what it means to Python, or is refused.
Tally HoldAgainstPython(const std::string& path) {
  const boost::json::object oracle = ReadJsonObject(path).value();
  const auto names = FromJson<std::vector<std::string>>(oracle.at("names")).value();
  Tally tally;
  for (const boost::json::value& entry : oracle.at("cases").as_array()) {
    const boost::json::object& answer = entry.as_object();
    const std::string frame(answer.at("frame").as_string());
    const std::string pattern(answer.at("pattern").as_string());
    MatchBudget budget;
    const auto compiled = Compile(frame, pattern, budget);
    const std::string what = frame + " " + pattern;
    if (answer.contains("error")) {
      EXPECT_FALSE(compiled.has_value()) << what << ": Python says " << answer.at("error");
      ++tally.invalid;
      continue;
    }
    if (!compiled) {
      tally.refused.push_back(what + ": " + compiled.error().message);
      continue;
    }
    boost::json::value matched;
    if (frame == "layer") {
      matched = Layers(*compiled, names, budget);
    } else {
      matched = boost::json::value_from(Matches(*compiled, names, budget));
    }
    if (!budget.Check()) {
      tally.refused.push_back(budget.Check().error().message);
      continue;
    }
    ++tally.same;
    EXPECT_EQ(matched, answer.at(frame == "layer" ? "indices" : "matches")) << what;
  }
  return tally;
}

TEST(PythonRegexTest, PatternsMeanWhatTheyMeanToPython) {
  const Tally tally = HoldAgainstPython(OraclePath("python_regex.json"));
  EXPECT_GE(tally.same, 460u);
  EXPECT_LE(tally.refused.size(), 18u);
}

// Patterns of chance, thousands of them: tests/oracle/python_regex.py --random 15000 --output FILE.
TEST(PythonRegexTest, PatternsOfAnotherTable) {
  const char* path = std::getenv("LORRY_PYTHON_REGEX");
  if (path == nullptr) GTEST_SKIP() << "LORRY_PYTHON_REGEX names no table";
  const Tally tally = HoldAgainstPython(path);
  fmt::print("{} the same, {} invalid, {} refused\n", tally.same, tally.invalid,
             tally.refused.size());
  for (const std::string& refused : tally.refused) fmt::print("refused: {}\n", refused);
}

}  // namespace
}  // namespace lorry::formats
