#include "base/spelling.h"

#include <gtest/gtest.h>

#include <vector>

namespace lorry {
namespace {

TEST(SpellingTest, Distance) {
  EXPECT_EQ(EditDistance("", "abc"), 3);
  EXPECT_EQ(EditDistance("port", "port"), 0);
  EXPECT_EQ(EditDistance("prot", "port"), 1);  // a swap
  EXPECT_EQ(EditDistance("pot", "port"), 1);
  EXPECT_EQ(EditDistance("kitten", "sitting"), 3);
}

TEST(SpellingTest, NearestOrNothing) {
  const std::vector<std::string> known = {"host", "port", "max-model-len", "max-num-seqs"};
  EXPECT_EQ(Nearest("prot", known), "port");
  EXPECT_EQ(Nearest("max-modl-len", known), "max-model-len");
  EXPECT_EQ(Nearest("max-num", known), "max-num-seqs");
  EXPECT_EQ(Nearest("banana", known), "");
  EXPECT_EQ(Nearest("", known), "");
}

}  // namespace
}  // namespace lorry
