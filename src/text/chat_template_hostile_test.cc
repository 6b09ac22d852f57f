// Templates and conversations that mean harm: each must end in an error or a text, never in a
// crash.
#include <gmock/gmock.h>

#include "text/chat_template.h"

namespace lorry::text {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::StartsWith;

Result<std::string> Render(std::string_view source, const ChatTemplateLimits& limits = {}) {
  ASSIGN_OR_RETURN(const ChatTemplate chat_template,
                   ChatTemplate::FromSource(source, {}, "template", limits));
  return chat_template.Render({.messages_json = "[]"});
}

// The rendered text, or "error: " and the message.
std::string Rendered(std::string_view source) {
  const Result<std::string> text = Render(source);
  return text ? *text : "error: " + text.error().message;
}

TEST(ChatTemplateHostileTest, LoopsEnd) {
  const auto text =
      Render("{% for a in range(9999) %}{% for b in range(9999) %}{% endfor %}{% endfor %}");
  ASSERT_FALSE(text);
  EXPECT_EQ(text.error().code, ErrorCode::kTooLarge);
  EXPECT_THAT(Rendered("{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}"), HasSubstr("recursion"));
}

TEST(ChatTemplateHostileTest, OutputIsLimited) {
  const auto text = Render("{% for a in range(9999) %}{{ 'x' * 10000 }}{% endfor %}",
                           {.max_output_bytes = 1 << 20});
  ASSERT_FALSE(text);
  EXPECT_EQ(text.error().code, ErrorCode::kTooLarge);
}

TEST(ChatTemplateHostileTest, NestingIsNoCrash) {
  const auto repeat = [](std::string_view text, int times) {
    std::string all;
    for (int i = 0; i < times; ++i) all += text;
    return all;
  };
  EXPECT_THAT(Rendered(repeat("{% if true %}", 10'000)), HasSubstr("error: "));
  EXPECT_THAT(Rendered("{{ " + repeat("[", 100'000) + " }}"), HasSubstr("error: "));
  EXPECT_THAT(Rendered("{{ " + repeat("-", 100'000) + "1 }}"), Not(HasSubstr("failed")));
  EXPECT_THAT(Rendered("{{ 1" + repeat("+1", 100'000) + " }}"), Not(HasSubstr("failed")));
  EXPECT_THAT(Rendered("{{ x" + repeat(".x", 100'000) + " }}"), Not(HasSubstr("failed")));
  EXPECT_THAT(Rendered("{{ 1" + repeat("|string", 30'000) + " }}"), Not(HasSubstr("failed")));
  EXPECT_THAT(Rendered(std::string(1 << 20, 'x')), HasSubstr("limit"));

  // A value nested by the template itself, freed and printed.
  const std::string nest =
      "{% set ns = namespace(v=[]) %}{% for a in range(9000) %}"
      "{% set ns.v = [[[[[[[[ns.v]]]]]]]] %}{% endfor %}";
  EXPECT_EQ(Rendered(nest), "");
  for (const char* use : {"{{ ns.v }}", "{{ ns.v | tojson }}", "{{ ns.v | string }}"}) {
    EXPECT_THAT(Rendered(nest + use), HasSubstr("nested"));
  }
  EXPECT_THAT(Rendered(nest + "{{ ns.v ~ '' }}"), StartsWith("[[["));
  EXPECT_EQ(Rendered(nest + "{{ ns.v == [ns.v] }}"), "False");
}

}  // namespace
}  // namespace lorry::text
