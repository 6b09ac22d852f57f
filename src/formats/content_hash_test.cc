#include "formats/content_hash.h"

#include <gtest/gtest.h>

#include <string_view>

namespace lorry::formats {
namespace {

AdapterId Hash(std::string_view config, std::string_view weights) {
  const ContentPart parts[] = {{"config", std::as_bytes(std::span(config))},
                               {"weights", std::as_bytes(std::span(weights))}};
  return HashAdapterContent(parts);
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

TEST(ContentHashTest, NamesAndTheNumberOfPartsCount) {
  const std::string_view text = "x";
  const auto bytes = std::as_bytes(std::span(text));
  const ContentPart tokenizer[] = {{"tokenizer.json", bytes}};
  const ContentPart chat[] = {{"chat_template.jinja", bytes}};
  const ContentPart both[] = {tokenizer[0], {"", {}}};
  EXPECT_NE(HashAdapterContent(tokenizer), HashAdapterContent(chat));
  EXPECT_NE(HashAdapterContent(tokenizer), HashAdapterContent(both));
}

// Written down once: the identity outlives the process in caches and logs, so it must never change.
TEST(ContentHashTest, IsStable) {
  EXPECT_EQ(Hash("config", "weights").Hex(), "0ab36d869f3e92e76d8cbe3e1b1e83e1");
}

}  // namespace
}  // namespace lorry::formats
