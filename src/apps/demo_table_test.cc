#include "apps/demo_table.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <sstream>

namespace lorry::apps {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

TEST(DemoTableTest, WrapsAtSpacesAndWholeCharacters) {
  EXPECT_THAT(WrapText("", 5), ElementsAre(""));
  EXPECT_THAT(WrapText("one two three", 8), ElementsAre("one two", "three"));
  EXPECT_THAT(WrapText("abcdefgh", 3), ElementsAre("abc", "def", "gh"));
  EXPECT_THAT(WrapText("éééé", 2), ElementsAre("éé", "éé"));
  EXPECT_THAT(WrapText("ab cd", 2), ElementsAre("ab", "cd"));
}

TEST(DemoTableTest, LinesKeepTheWidth) {
  const std::string table = RenderTable(
      {{"sql", "how many users live in Paris?", "Pick an adapter.",
        "SELECT COUNT(*) FROM users WHERE city = 'Paris' AND a_rather_long_condition = TRUE;"},
       {"french", "99", "Pick an adapter.", "quatre-vingt-dix-neuf"}},
      80);
  std::istringstream lines(table);
  for (std::string line; std::getline(lines, line);) EXPECT_LE(line.size(), 80u) << line;
  EXPECT_THAT(table, HasSubstr("quatre-vingt-dix-neuf"));
  EXPECT_THAT(table, HasSubstr("\nsql     how many users live in"));
}

TEST(DemoTableTest, LongAnswersAreCut) {
  const std::string words(400, 'x');
  const std::string table = RenderTable({{"sql", "?", words, words}}, 80);
  EXPECT_EQ(std::count(table.begin(), table.end(), '\n'), 2 + 4);
  EXPECT_THAT(table, HasSubstr("x…"));
}

TEST(DemoTableTest, AnUnreachableServerIsSaidInTheCell) {
  const auto rows = AskAll({"127.0.0.1", 1, "", "demo"}, {{"sql", "how many?", ""}});
  ASSERT_EQ(rows.size(), 1u);
  EXPECT_THAT(rows[0].adapter_answer, testing::StartsWith("("));
}

TEST(DemoTableTest, NextStepsNameTheServer) {
  const std::string text =
      NextSteps({"127.0.0.1", 8001, "", "demo"}, {"sql", "how many?", ""}, "build/release/lorry");
  EXPECT_THAT(text, HasSubstr("curl http://127.0.0.1:8001/v1/models\n"));
  EXPECT_THAT(
      text,
      HasSubstr(
          R"(--json '{"model": "sql", "messages": [{"role": "user", "content": "how many?"}]}')"));
  EXPECT_THAT(text, HasSubstr("build/release/lorry run --adapter sql \"how many?\"\n"));
}

}  // namespace
}  // namespace lorry::apps
