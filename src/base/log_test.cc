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
  log::Flush();
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

}  // namespace
}  // namespace lorry
