#include "api/openai/json_text.h"

#include <gtest/gtest.h>

#include <boost/json.hpp>
#include <cmath>
#include <limits>
#include <random>

namespace lorry::api::openai {
namespace {

std::string Quoted(std::string_view text) {
  std::string out;
  AppendJsonString(out, text);
  return out;
}

std::string Number(float value) {
  std::string out;
  AppendJsonFloat(out, value);
  return out;
}

TEST(JsonText, Escapes) {
  EXPECT_EQ(Quoted("plain"), R"("plain")");
  EXPECT_EQ(Quoted("a\"b\\c\nd\re\tf"), R"("a\"b\\c\nd\re\tf")");
  EXPECT_EQ(Quoted(std::string_view("\0\x1f\x7f", 3)), R"("\u0000\u001f\u007f")");
  EXPECT_EQ(Quoted("é漢😀"), "\"é漢😀\"");
}

TEST(JsonText, BrokenUtf8BecomesReplacementCharacters) {
  EXPECT_EQ(Quoted("a\xC3"), "\"a\uFFFD\"");                    // cut short
  EXPECT_EQ(Quoted("\xE6\xBC!"), "\"\uFFFD\uFFFD!\"");          // cut short by a letter
  EXPECT_EQ(Quoted("\xC0\x80"), "\"\uFFFD\uFFFD\"");            // overlong NUL
  EXPECT_EQ(Quoted("\xED\xA0\x80"), "\"\uFFFD\uFFFD\uFFFD\"");  // surrogate
  EXPECT_EQ(Quoted("\xF4\x90\x80\x80"), "\"\uFFFD\uFFFD\uFFFD\uFFFD\"");
}

TEST(JsonText, RandomBytesAreAlwaysJson) {
  std::mt19937 random(7);
  for (int round = 0; round < 2000; ++round) {
    std::string bytes(random() % 40, '\0');
    for (char& byte : bytes) byte = static_cast<char>(random());
    boost::json::error_code error;
    boost::json::parse(Quoted(bytes), error);
    ASSERT_FALSE(error) << error.message();
  }
}

TEST(JsonText, FloatsReadBackToTheSameBits) {
  std::mt19937 random(11);
  for (int round = 0; round < 2000; ++round) {
    const float value = -std::exp(static_cast<float>(random() % 2000) / 100.0f - 15.0f);
    const double read = boost::json::parse(Number(value)).to_number<double>();
    ASSERT_EQ(static_cast<float>(read), value);
  }
}

TEST(JsonText, WhatJsonCannotSay) {
  EXPECT_EQ(Number(-std::numeric_limits<float>::infinity()), "-9999");
  EXPECT_EQ(Number(std::numeric_limits<float>::quiet_NaN()), "-9999");
}

}  // namespace
}  // namespace lorry::api::openai
