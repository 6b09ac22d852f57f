#include "text/utf8_stream.h"

#include <gtest/gtest.h>

#include <random>

namespace lorry::text {
namespace {

std::string Whole(std::string_view bytes) {
  Utf8Stream stream;
  std::string out;
  stream.Push(bytes, &out);
  stream.Flush(&out);
  return out;
}

TEST(Utf8StreamTest, KeepsEveryKindOfCharacter) {
  const std::string text = "a\x7F é ߿ \u0800 € \uD7FF \uE000 \uFFFD 🙂 \U0010FFFF";
  EXPECT_EQ(Whole(text), text);
}

TEST(Utf8StreamTest, ReplacesEachMaximalPartOnce) {
  // The examples of the Unicode standard, tables 3-8 to 3-11, and ends of text.
  EXPECT_EQ(Whole("\xC0\xAF\xE0\x80\xBF\xF0\x81\x82\x41"), "��������A");
  EXPECT_EQ(Whole("\xED\xA0\x80\xED\xBF\xBF\xED\xAF\x41"), "��������A");
  EXPECT_EQ(Whole("\xF4\x91\x92\x93\xFF\x41\x80\xBF\x42"), "�����A��B");
  EXPECT_EQ(Whole("\xE1\x80\xE2\xF0\x91\x92\xF1\xBF\x41"), "����A");
  EXPECT_EQ(Whole("x\xF0\x9F\x99"), "x�");
  EXPECT_EQ(Whole("\xE2\x82\xE2\x82\xAC"), "�€");
}

TEST(Utf8StreamTest, HoldsAnUnfinishedCharacter) {
  Utf8Stream stream;
  std::string out;
  for (const char* byte : {"\xF0", "\x9F", "\x99"}) stream.Push(byte, &out);
  EXPECT_EQ(out, "");
  EXPECT_FALSE(stream.empty());
  stream.Push("\x82!", &out);
  EXPECT_EQ(out, "🙂!");
  EXPECT_TRUE(stream.empty());
}

TEST(Utf8StreamTest, PiecesMakeTheSameTextAsTheWhole) {
  std::mt19937 random(1);
  // Bytes of which most begin or continue characters.
  const std::string alphabet =
      "a\x80\xBF\xC2\xC3\xE0\xA0\x9F\xED\xE2\x82\xAC\xF0\x9F\x99\x90\xF4\x8F\xFF";
  for (int round = 0; round < 2000; ++round) {
    std::string bytes;
    for (int i = 0; i < 40; ++i) bytes += alphabet[random() % alphabet.size()];
    Utf8Stream stream;
    std::string out;
    for (size_t at = 0; at < bytes.size();) {
      const size_t size = 1 + random() % 4;
      stream.Push(std::string_view(bytes).substr(at, size), &out);
      at += size;
    }
    stream.Flush(&out);
    ASSERT_EQ(out, Whole(bytes));
  }
}

}  // namespace
}  // namespace lorry::text
