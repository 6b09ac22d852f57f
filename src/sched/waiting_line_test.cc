#include "sched/waiting_line.h"

#include <gtest/gtest.h>

#include <string>

namespace lorry::sched {
namespace {

using Line = WaitingLine<const char>;

// Sequences are letters, the request of one is the letter without its case: a and A are of one.
class WaitingLineTest : public ::testing::Test {
 protected:
  static constexpr char kLetters[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";

  static const char* Letter(char letter) {
    return std::string_view(kLetters).find(letter) + kLetters;
  }
  static RequestId RequestOf(char letter) { return {static_cast<uint64_t>(letter | 0x20)}; }

  void Add(std::string_view letters) {
    for (char letter : letters) line_.Add(RequestOf(letter), Letter(letter));
  }
  void Take(char letter) { line_.Take(RequestOf(letter), Letter(letter)); }
  void Remove(char letter) { line_.Remove(RequestOf(letter), Letter(letter)); }

  std::string Order() const {
    std::string order;
    line_.ForEach([&order](const char* letter, size_t) {
      order += *letter;
      return Line::Answer::kNext;
    });
    return order;
  }

  Line line_;
};

TEST_F(WaitingLineTest, RequestsTakeTurns) {
  Add("aAbcC");
  EXPECT_EQ(Order(), "abcAC");
}

TEST_F(WaitingLineTest, WhoBeginsGoesToTheEnd) {
  Add("aAbB");
  Take('a');
  EXPECT_EQ(Order(), "bAB");
  Add("c");
  EXPECT_EQ(Order(), "bAcB");
  Take('b');
  Take('A');
  EXPECT_EQ(Order(), "cB");
  Add("a");
  EXPECT_EQ(Order(), "cBa");
}

TEST_F(WaitingLineTest, WhoIsPassedOverKeepsItsPlace) {
  Add("aAbc");
  Take('b');
  Take('c');
  EXPECT_EQ(Order(), "aA");
  Add("d");
  EXPECT_EQ(Order(), "adA");
}

TEST_F(WaitingLineTest, WhoLeavesIsForgotten) {
  Add("aAb");
  Remove('a');
  EXPECT_EQ(Order(), "Ab");
  Remove('A');
  EXPECT_EQ(Order(), "b");
  Add("a");
  EXPECT_EQ(Order(), "ba");
}

TEST_F(WaitingLineTest, RequestsAreSkippedAndTheWalkEnds) {
  Add("aAbBcC");
  std::string order;
  EXPECT_FALSE(line_.ForEach([&order](const char* letter, size_t turn) {
    order += *letter + std::to_string(turn);
    if (*letter == 'a') return Line::Answer::kSkipRequest;
    return *letter == 'B' ? Line::Answer::kStop : Line::Answer::kNext;
  }));
  EXPECT_EQ(order, "a0b0c0B1");
}

}  // namespace
}  // namespace lorry::sched
