#include <gtest/gtest.h>

#include <thread>

#include "base/ascii.h"
#include "base/ids.h"
#include "base/mailbox.h"
#include "base/path_text.h"
#include "base/random.h"
#include "base/result.h"

namespace lorry {
namespace {

// Known answers published with the paper's reference implementation (kat_vectors, philox4x32 10
// rounds).
TEST(RandomTest, PhiloxKnownAnswers) {
  EXPECT_EQ(Philox4x32({0, 0, 0, 0}, {0, 0}),
            (std::array<uint32_t, 4>{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}));
  const uint32_t ones = 0xffffffff;
  EXPECT_EQ(Philox4x32({ones, ones, ones, ones}, {ones, ones}),
            (std::array<uint32_t, 4>{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}));
}

TEST(RandomTest, UniformIsInRangeAndEven) {
  double sum = 0;
  for (uint64_t position = 0; position < 10000; ++position) {
    const double u = UniformAt(7, 1, position);
    ASSERT_GE(u, 0.0);
    ASSERT_LT(u, 1.0);
    sum += u;
  }
  EXPECT_NEAR(sum / 10000, 0.5, 0.02);
  EXPECT_NE(UniformAt(7, 0, 3), UniformAt(7, 1, 3));
}

TEST(MailboxTest, RefusesWhenFullAndKeepsTheMessage) {
  Mailbox<std::string> mailbox(1);
  EXPECT_TRUE(mailbox.TrySend("a"));
  std::string second = "b";
  EXPECT_FALSE(mailbox.TrySend(std::move(second)));
  EXPECT_EQ(second, "b");
  EXPECT_TRUE(mailbox.SendAlways("c"));
  std::vector<std::string> out;
  mailbox.Drain(out);
  EXPECT_EQ(out, (std::vector<std::string>{"a", "c"}));
  mailbox.Close();
  EXPECT_FALSE(mailbox.SendAlways("d"));
}

TEST(MailboxTest, TwoProducersLoseNothing) {
  Mailbox<int> mailbox(1 << 20);
  auto produce = [&] {
    for (int i = 0; i < 10000; ++i) ASSERT_TRUE(mailbox.TrySend(int{i}));
  };
  std::thread a(produce), b(produce);
  size_t received = 0;
  std::vector<int> batch;
  while (received < 20000) {
    mailbox.WaitFor(std::chrono::milliseconds(100));
    mailbox.Drain(batch);
    received += batch.size();
  }
  a.join();
  b.join();
  EXPECT_EQ(received, 20000u);
}

TEST(AsciiTest, OnlyAsciiLettersHaveACase) {
  static_assert(IsAsciiLetter('z') && IsAsciiLetter('A') && !IsAsciiLetter('[') &&
                !IsAsciiLetter('@') && !IsAsciiLetter('\xc4') && IsAsciiAlphanumeric('0'));
  EXPECT_EQ(AsciiLower(std::string_view("AZaz@[`{09\xc4\x00", 13)),
            std::string_view("azaz@[`{09\xc4\x00", 13));
  EXPECT_TRUE(EqualIgnoringCase("Content-Type", "content-tYPE"));
  EXPECT_FALSE(EqualIgnoringCase("a", "ab") || EqualIgnoringCase("\r", "-"));
  EXPECT_TRUE(BeginsIgnoringCase("BEARER x", "bearer "));
  EXPECT_FALSE(BeginsIgnoringCase("bea", "bearer "));
}

TEST(PathTextTest, AMessageLosesThePathThatItBeginsWith) {
  EXPECT_EQ(WithoutPath("/a", "/a: is empty"), "is empty");
  EXPECT_EQ(WithoutPath("/a/", "/a//x.json: is empty"), "x.json: is empty");
  EXPECT_EQ(WithoutPath("/a/", "/a/: is empty"), "is empty");
  EXPECT_EQ(WithoutPath("/a", "/ab: is empty"), "/ab: is empty");
  EXPECT_EQ(WithoutPath("/a", "/a"), "/a");
  EXPECT_EQ(WithoutPath("", ": x"), ": x");
}

TEST(ResultTest, MacrosPassErrorsOn) {
  auto fail = []() -> Result<int> { return Fail(ErrorCode::kNotFound, "no file", "path"); };
  auto outer = [&]() -> Result<int> {
    ASSIGN_OR_RETURN(int value, fail());
    return value + 1;
  };
  ASSERT_FALSE(outer());
  EXPECT_EQ(outer().error().param, "path");
  EXPECT_EQ(Annotate(outer().error(), "x.json").value().message, "x.json: no file");
}

}  // namespace
}  // namespace lorry
