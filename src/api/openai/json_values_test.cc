#include "api/openai/json_values.h"

#include <gtest/gtest.h>

#include <string>

namespace lorry::api::openai {
namespace {

// The least limit under which `text` may be read.
size_t Count(std::string_view text) {
  size_t max_count = 1;
  while (!JsonValues(max_count).Take(text)) ++max_count;
  return max_count;
}

TEST(JsonValues, CountsAllButKeys) {
  EXPECT_EQ(Count("1"), 1u);
  EXPECT_EQ(Count("[1]"), 2u);
  EXPECT_EQ(Count("[1, 2, 3]"), 4u);
  EXPECT_EQ(Count(R"({"a": 1, "b": "x"})"), 3u);
  EXPECT_EQ(Count(R"({"a": [1, {"b": [2, 3]}]})"), 7u);
}

TEST(JsonValues, WhatStandsInStringsDoesNotCount) {
  EXPECT_EQ(Count(R"(["a,b,[,{,"])"), 2u);
  EXPECT_EQ(Count(R"(["a\",\"", "\\", ","])"), 4u);
  EXPECT_EQ(Count(R"({"k,\",": ","})"), 2u);
}

TEST(JsonValues, TextsOfOneRequestCountTogether) {
  JsonValues values(7);
  EXPECT_TRUE(values.Take("[1,2]"));
  EXPECT_TRUE(values.Take("[1,2]"));
  EXPECT_TRUE(values.Take("1"));
  EXPECT_FALSE(values.Take("1"));
}

TEST(JsonValues, NamesTheFieldThatReachedTheLimit) {
  const auto field = [](std::string_view text) {
    JsonValues values(4);
    EXPECT_FALSE(values.Take(text)) << text;
    return std::string(values.last_field());
  };
  EXPECT_EQ(field(R"({"model": "m", "messages": [0,0,0,0,0]})"), "messages");
  EXPECT_EQ(field(R"({"model": "m", "chat_template_kwargs": {"x": {"y": [0,0,0,0]}}})"),
            "chat_template_kwargs");
  EXPECT_EQ(field(R"({"<b>": [0,0,0,0,0]})"), "");
  EXPECT_EQ(field("[0,0,0,0,0]"), "");
}

TEST(JsonValues, TextsThatAreNoJsonEndToo) {
  EXPECT_EQ(Count(R"(["never closed, and on)"), 2u);
  EXPECT_EQ(Count(R"("\)"), 1u);
  EXPECT_EQ(Count("]]]}}}"), 1u);
  EXPECT_FALSE(JsonValues(1000).Take(std::string(size_t{1} << 20, '[')));
}

}  // namespace
}  // namespace lorry::api::openai
