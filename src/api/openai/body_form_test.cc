#include "api/openai/body_form.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "api/openai/field_reader.h"

namespace lorry::api::openai {
namespace {

using namespace std::string_literals;
using ::testing::HasSubstr;

std::string Wrong(const std::string& body) {
  const auto parsed = ParseBody(body, {});
  return parsed ? "" : parsed.error().message;
}

TEST(BodyForm, AByteOrderMarkIsIgnored) {
  const auto parsed = ParseBody("\xEF\xBB\xBF{\"a\":1}", {});
  ASSERT_TRUE(parsed) << parsed.error().message;
  EXPECT_TRUE(parsed->contains("a"));
  EXPECT_THAT(Wrong("\xEF\xBB\xBF"), HasSubstr("it is empty"));
}

TEST(BodyForm, WhatIsNoJsonIsCalledWhatItIs) {
  EXPECT_THAT(Wrong(""), HasSubstr("it is empty"));
  EXPECT_THAT(Wrong(" \r\n"), HasSubstr("it is empty"));
  EXPECT_THAT(Wrong("\x1F\x8B\x08\0\0"s), HasSubstr("gzip"));
  EXPECT_THAT(Wrong("\x28\xB5\x2F\xFD x"), HasSubstr("zstd"));
  EXPECT_THAT(Wrong("\xFF\xFE{\0}\0"s), HasSubstr("UTF-16"));
  EXPECT_THAT(Wrong("\xFE\xFF\0{\0}"s), HasSubstr("UTF-16"));
  EXPECT_THAT(Wrong("{\0}\0"s), HasSubstr("UTF-16"));
  EXPECT_THAT(Wrong("\0{\0}"s), HasSubstr("UTF-16"));
  EXPECT_THAT(Wrong("\0\0\0{\0\0\0}"s), HasSubstr("UTF-32"));
  EXPECT_THAT(Wrong("{\"a\":\"caf\xE9\"}"), HasSubstr("byte 0xE9 at byte 9 is not UTF-8"));
  EXPECT_THAT(Wrong("{\"a\":nonsense}"), HasSubstr("at byte"));
}

}  // namespace
}  // namespace lorry::api::openai
