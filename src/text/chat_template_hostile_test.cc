// Templates that mean harm, through the whole interface; rust/textkit/src/hostile_test.rs has many
// more.
#include <gmock/gmock.h>

#include "text/chat_template.h"

namespace lorry::text {
namespace {

using ::testing::HasSubstr;

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
  EXPECT_THAT(Rendered(repeat("{% if true %}", 10'000)), HasSubstr("recursion"));
  EXPECT_THAT(Rendered("{{ " + repeat("[", 100'000) + " }}"), HasSubstr("recursion"));
  EXPECT_THAT(Rendered("{{ " + repeat("-", 100'000) + "1 }}"), HasSubstr("levels"));
  EXPECT_THAT(Rendered("{{ x" + repeat(".x", 60'000) + " }}"), HasSubstr("levels"));
  EXPECT_THAT(Rendered(std::string(1 << 20, 'x')), HasSubstr("limit"));
  EXPECT_THAT(Rendered("{% set ns = namespace(v=[]) %}{% for a in range(9000) %}"
                       "{% set ns.v = [ns.v] %}{% endfor %}"),
              HasSubstr("levels"));
  EXPECT_THAT(Rendered("{% set ns = namespace() %}{% set ns.a = ns %}{{ ns }}"),
              HasSubstr("cannot hold a namespace"));
}

TEST(ChatTemplateHostileTest, SizeIsNoCrash) {
  const std::string begin = "{% set ns = namespace(v='ab') %}{% for a in range(9000) %}";
  for (const char* step : {"{% set ns.v = ns.v ~ ns.v %}", "{% set ns.v = [ns.v, ns.v] %}",
                           "{% set ns.v = ns.v.replace('a', ns.v) %}"}) {
    const auto text = Render(begin + step + "{% endfor %}");
    ASSERT_FALSE(text) << step;
    EXPECT_EQ(text.error().code, ErrorCode::kTooLarge) << step;
  }
}

}  // namespace
}  // namespace lorry::text
