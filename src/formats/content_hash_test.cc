#include "formats/content_hash.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <optional>
#include <string>
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

std::string LongText(size_t num_bytes) {
  std::string text(num_bytes, '\0');
  for (size_t i = 0; i < num_bytes; ++i) text[i] = static_cast<char>(i * 2654435761u >> 13);
  return text;
}

// `python3 -c` with hashlib, after the words of content_hash.h.
TEST(ContentHashTest, LongPartsAreTrees) {
  const std::string weights = LongText((size_t{9} << 20) + 5);
  EXPECT_EQ(Hash("config", weights).Hex(), "bb5b765206548ef34f76b69e4ef916b6");
}

TEST(ContentHashTest, EveryLeafCounts) {
  std::string weights = LongText(size_t{1} << 20);
  const AdapterId whole = Hash("config", weights);
  for (const size_t i :
       {size_t{0}, (size_t{256} << 10) - 1, size_t{256} << 10, weights.size() - 1}) {
    weights[i] ^= 1;
    EXPECT_NE(Hash("config", weights), whole) << i;
    weights[i] ^= 1;
  }
  std::swap_ranges(weights.begin(), weights.begin() + (256 << 10), weights.begin() + (256 << 10));
  EXPECT_NE(Hash("config", weights), whole);
}

TEST(ContentHashTest, PendingIsTheSame) {
  constexpr size_t kLeaf = size_t{256} << 10;
  for (const size_t text_bytes : {size_t{6}, 2 * kLeaf + 1}) {
    for (const size_t num_bytes : {size_t{10}, kLeaf, kLeaf + 1, 28 * kLeaf}) {
      const std::string weights = LongText(num_bytes);
      std::optional<PendingContentHash> pending;
      {
        const std::string config = LongText(text_bytes);  // texts need not outlive it
        const ContentPart text = {"config", std::as_bytes(std::span(config))};
        pending.emplace(std::span(&text, 1),
                        ContentPart{"weights", std::as_bytes(std::span(weights))});
      }
      EXPECT_EQ(pending->Get(), Hash(LongText(text_bytes), weights));
      EXPECT_EQ(pending->Get(), Hash(LongText(text_bytes), weights));
    }
  }
}

// Nobody reads the bytes once it has gone (the address sanitizer would say so).
TEST(ContentHashTest, PendingCanBeGivenUp) {
  for (int round = 0; round < 50; ++round) {
    const std::string weights = LongText(size_t{4} << 20);
    const ContentPart part = {"weights", std::as_bytes(std::span(weights))};
    const PendingContentHash pending({}, part);
  }
}

}  // namespace
}  // namespace lorry::formats
