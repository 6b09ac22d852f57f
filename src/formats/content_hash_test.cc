#include "formats/content_hash.h"

#include <gtest/gtest.h>

#include <string_view>

namespace lorry::formats {
namespace {

AdapterId Hash(std::string_view config, std::string_view weights) {
  return HashAdapterContent(std::as_bytes(std::span(config)), std::as_bytes(std::span(weights)));
}

TEST(ContentHashTest, EqualContentHasOneIdentity) {
  EXPECT_EQ(Hash("config", "weights"), Hash("config", "weights"));
  EXPECT_FALSE(Hash("", "").IsBase());
}

TEST(ContentHashTest, AnyDifferenceShows) {
  EXPECT_NE(Hash("config", "weights"), Hash("config", "weightt"));
  EXPECT_NE(Hash("config", "weights"), Hash("confih", "weights"));
  EXPECT_NE(Hash("config", "weights"),
            Hash("configw", "eights"));  // no byte moves between the parts
}

// Written down once: the identity outlives the process in caches and logs, so it must never change.
TEST(ContentHashTest, IsStable) {
  EXPECT_EQ(Hash("config", "weights").Hex(), "6150f4a2a2cc7838fe74fcde72d15329");
}

}  // namespace
}  // namespace lorry::formats
