#include "apps/text_table.h"

#include <gtest/gtest.h>

namespace lorry::apps {
namespace {

TEST(TextTableTest, AlignsCharactersNotBytes) {
  EXPECT_EQ(AlignedTable({{"NAME"}, {"BYTES", true}, {"LAST"}},
                         {{"a", "5", "now"}, {"…bc", "12345678", ""}}),
            "NAME     BYTES  LAST\n"
            "a            5  now\n"
            "…bc   12345678  -\n");
}

TEST(TextTableTest, Ages) {
  EXPECT_EQ(AgeShown(0, 1000), "never");
  EXPECT_EQ(AgeShown(1000, 990), "now");  // clocks differ
  EXPECT_EQ(AgeShown(1000, 1059), "now");
  EXPECT_EQ(AgeShown(1000, 1060), "1m ago");
  EXPECT_EQ(AgeShown(1000, 1000 + 7200), "2h ago");
  EXPECT_EQ(AgeShown(1000, 1000 + 86400 * 30), "30d ago");
}

TEST(TextTableTest, CutsAtCharacters) {
  EXPECT_EQ(KeptEnd("abcdef", 6), "abcdef");
  EXPECT_EQ(KeptEnd("abcdef", 4), "…def");
  EXPECT_EQ(KeptEnd("äöüß", 3), "…üß");
  EXPECT_EQ(KeptBegin("abcdef", 6), "abcdef");
  EXPECT_EQ(KeptBegin("abcdef", 4), "abc…");
  EXPECT_EQ(KeptBegin("äöüß", 3), "äö…");
}

}  // namespace
}  // namespace lorry::apps
