#include "base/log.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace lorry {
namespace {

using testing::HasSubstr;
using testing::internal::CaptureStderr;
using testing::internal::GetCapturedStderr;

std::string Logged(log::Format format, std::string_view message) {
  CaptureStderr();
  log::Configure({.level = log::Level::kInfo, .format = format});
  log::Info("{}", message);
  EXPECT_TRUE(log::Flush(std::chrono::minutes(1)));
  log::Configure({});
  return GetCapturedStderr();
}

TEST(LogTest, NobodysTextForgesALineOrSteersATerminal) {
  const std::string_view hostile =
      "a\nready\r\x1b[2J\x7f\xc2\x9b"
      "31m \"q\" \\ ä";
  const std::string text = Logged(log::Format::kText, hostile);
  EXPECT_THAT(text, HasSubstr("a\\u000aready\\u000d\\u001b[2J\\u007f\\u009b31m \"q\" \\ ä\n"));
  EXPECT_EQ(std::count(text.begin(), text.end(), '\n'), 1);
  const std::string json = Logged(log::Format::kJson, hostile);
  EXPECT_THAT(json,
              HasSubstr("a\\u000aready\\u000d\\u001b[2J\\u007f\\u009b31m \\\"q\\\" \\\\ ä\"}"));
  EXPECT_EQ(std::count(json.begin(), json.end(), '\n'), 1);
}

std::string LoggedFields(log::Format format, std::string_view text, std::string_view json) {
  CaptureStderr();
  log::Configure({.level = log::Level::kInfo, .format = format});
  log::WriteFields(log::Level::kInfo, text, json);
  EXPECT_TRUE(log::Flush(std::chrono::minutes(1)));
  log::Configure({});
  return GetCapturedStderr();
}

TEST(LogTest, FieldsForgeNothingEither) {
  EXPECT_THAT(LoggedFields(log::Format::kText,
                           "GET /\xc2\x9b"
                           "2J\xc2\x85x\n",
                           ""),
              HasSubstr("GET /\\u009b2J\\u0085x\\u000a\n"));
  EXPECT_THAT(LoggedFields(log::Format::kJson, "",
                           "\"path\":\"/\xc2\x9b"
                           "2J ä\""),
              HasSubstr("{\"time\""));
  EXPECT_THAT(LoggedFields(log::Format::kJson, "",
                           "\"path\":\"/\xc2\x9b"
                           "2J ä\""),
              HasSubstr("\"path\":\"/\\u009b2J ä\"}"));
}

TEST(LogTest, ATableKeepsItsRows) {
  CaptureStderr();
  log::WriteTable(log::Level::kInfo, "bytes\n  weights 1\n  pool    2", "");
  EXPECT_TRUE(log::Flush(std::chrono::minutes(1)));
  EXPECT_THAT(GetCapturedStderr(), HasSubstr(" info bytes\n  weights 1\n  pool    2\n"));
}

TEST(LogTest, MarksThatTurnOrBreakTextAreShown) {
  EXPECT_THAT(Logged(log::Format::kText, "a\u2028b\u202ec\u2066d\u200fe\u061cf"),
              HasSubstr("a\\u2028b\\u202ec\\u2066d\\u200fe\\u061cf\n"));
  EXPECT_THAT(Logged(log::Format::kText, "\u2026 \u20ac \u2064 \xe2\x80"),
              HasSubstr("\u2026 \u20ac \u2064 \xe2\x80\n"));
}

}  // namespace
}  // namespace lorry
