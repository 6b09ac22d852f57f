#include "text/chat_template.h"

#include <gmock/gmock.h>

#include <boost/json/serialize.hpp>
#include <filesystem>
#include <set>
#include <thread>

#include "text/test_data.h"

namespace lorry::text {
namespace {

namespace json = boost::json;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsSupersetOf;
using ::testing::Not;

std::string Str(const json::value& value) { return std::string(value.as_string()); }

Result<std::string> Render(std::string_view source, const Chat& chat,
                           const SpecialTokens& tokens = {},
                           const ChatTemplateLimits& limits = {}) {
  ASSIGN_OR_RETURN(const ChatTemplate chat_template,
                   ChatTemplate::FromSource(source, tokens, "template", limits));
  return chat_template.Render(chat);
}

// The rendered text, or "error: " and the message.
std::string Rendered(std::string_view source, const Chat& chat = {.messages_json = "[]"}) {
  const Result<std::string> text = Render(source, chat);
  return text ? *text : "error: " + text.error().message;
}

std::string RenderedWith(std::string_view source, const std::string& variables_json) {
  return Rendered(source, {.messages_json = "[]", .variables_json = variables_json});
}

TEST(ChatTemplateGoldenTest, AllTemplateCases) {
  const json::value file = ProjectJson("chat_template_cases.json");
  const json::array& cases = file.at("cases").as_array();
  ASSERT_EQ(cases.size(), 36u);
  for (const json::value& item : cases) {
    json::array messages = file.at("messages").as_array();
    for (const json::value& message : item.at("extra_messages").as_array()) {
      messages.push_back(message);
    }
    SpecialTokens tokens = {.bos = Str(item.at("bos_token")), .eos = Str(item.at("eos_token"))};
    if (Str(item.at("name")) == "ai-sage/GigaChat-20B-A3B-instruct") {
      // The file has not the tokens of the model that this template names by their numbers.
      tokens.bos = "<s>";
      tokens.additional = {"<|role_sep|>", "<|message_sep|>", "[", "]"};
    }
    const Result<std::string> text =
        Render(Str(item.at("template")), {.messages_json = json::serialize(messages)}, tokens);
    ASSERT_TRUE(text) << item.at("name") << ": " << text.error().message;
    EXPECT_EQ(*text, Str(item.at("expected_output_jinja_effective"))) << item.at("name");
  }
}

// Renders the cases of a file; those in `differ` may come out otherwise, and have to.
void ExpectCases(const json::array& cases, const std::set<std::string>& differ) {
  for (const json::value& item : cases) {
    json::object variables = item.at("vars").as_object();
    Chat chat = {.messages_json = "[]"};
    if (const json::value* messages = variables.if_contains("messages")) {
      chat.messages_json = json::serialize(*messages);
      variables.erase("messages");
    }
    chat.variables_json = json::serialize(variables);
    const std::string source = Str(item.at("template"));
    const std::string text = Rendered(source, chat);
    if (differ.contains(source)) {
      EXPECT_NE(text, Str(item.at("expected"))) << "no longer differs: " << source;
    } else {
      EXPECT_EQ(text, Str(item.at("expected"))) << source << "\nwith " << item.at("vars");
    }
  }
}

TEST(ChatTemplateGoldenTest, JinjaCases) {
  ExpectCases(
      ProjectJson("jinja_cases.json").at("cases").as_array(),
      {// The engine has lists where Python has tuples, and keys 1, 1.0 and true are not the same.
       "{% if {0: 1, none: 2, 1.0: 3, '0': 4, true: 5} == {false: 1, none: 2, 1: 5, '0': 4} "
       "%}equal{% endif %}",
       "{{ ('a', 'b', 'c')[::-1]|string }}",
       "{% set d = {0: 1, none: 2, 1.0: 3, '0': 4, (0, 0): 5, false: 6, 1: 7} %}"
       "{{ d[(0, 0)] + d[0] + d[none] + d['0'] + d[false] + d[1.0] + d[1] }}",
       "{% set d = {0: 1, none: 2, 1.0: 3, '0': 4, (0, 0): 5, true: 6} %}{{ d|string }}",
       "{% set d = [0, none, 1.0, '0', true, (0, 0)] %}{{ d|string }}",
       // Texts stay plain: `safe` is `string`.
       "{{ 'yes' if 'foo'|safe is escaped }}",
       // Not in Jinja2 either.
       "{{ a[]|default('fallback') }}", "{{ a[] is undefined }}",
       // Hugging Face's sandbox refuses methods that change a list as well.
       "{{ arr.pop() }}-{{ arr|join(',') }}", "{{ arr.pop(0) }}-{{ arr|join(',') }}",
       "{% set _ = arr.append('d') %}{{ arr|join(',') }}",
       // Missing: no chat template that we know has them.
       "{{ items|upper }}", "{% for i in items|sort(true) %}{{ i }}{% endfor %}",
       "{{ items|sort(attribute=0)|join(attribute=1) }}", "{{ 'yes' if ''.strip is callable }}",
       "{{ arr|truncate(9) }}", "{{ arr|wordcount }}", "{{ items|min(attribute='x') }}",
       "{{ items|max(attribute='x') }}", "{{ keys is undefined }} {{ obj.keys is defined }}",
       "{{ arr|items|join }}"});
}

TEST(ChatTemplateGoldenTest, SyntaxCases) {
  const json::value file = ProjectJson("minja_syntax_cases.json");
  json::array cases;
  for (const json::value& item : file.at("cases").as_array()) {
    // Where blocks stand in lines, what comes out depends on options that chat templates have on.
    const json::object& options = item.at("options").as_object();
    const bool as_ours =
        options.at("trim_blocks").as_bool() && options.at("lstrip_blocks").as_bool();
    const std::string source = Str(item.at("template"));
    const bool in_lines = source.find('\n') != std::string::npos || source.starts_with("  {%");
    if (as_ours || !in_lines) cases.push_back(item);
  }
  EXPECT_GE(cases.size(), 90u);
  ExpectCases(cases,
              {
                  "{% set _ = a.b.append(c.d.e) %}{{ a.b }}",
                  "{% set x = [] %}{% set _ = x.append(1) %}{{ x | tojson(indent=2) }}",
                  "{{ range(*[2,4]) | list }}",  // missing: no chat template that we know has it
                  "{{ None | trim }}",           // "None" in Jinja2 as well
              });
  for (const json::value& item : file.at("error_cases").as_array()) {
    EXPECT_THAT(Rendered(Str(item.at("template"))), HasSubstr("error: ")) << item.at("template");
  }
}

TEST(ChatTemplateGoldenTest, AllTemplatesRenderOrSayWhyNot) {
  const auto dir = OutsideDir("chat_templates");
  if (!dir) GTEST_SKIP() << "LORRY_TEST_DATA is not set";
  const json::value tool_use = ProjectJson("tool_use.json");
  const std::vector<Chat> chats = {
      {.messages_json = R"([{"role": "user", "content": "Question"}])"},
      {.messages_json = R"([{"role": "system", "content": "Be kind."},
                            {"role": "user", "content": [{"type": "text", "text": "One"}]},
                            {"role": "assistant", "content": "Two"},
                            {"role": "user", "content": "Three"}])"},
      {.messages_json = json::serialize(tool_use.at("messages")),
       .tools_json = json::serialize(tool_use.at("tools"))}};
  int num_templates = 0;
  int num_rendered = 0;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(*dir)) {
    if (entry.path().extension() != ".jinja") continue;
    ++num_templates;
    const std::string name = entry.path().filename();
    const auto chat_template =
        ChatTemplate::FromSource(ReadTestFile(entry.path()), {.bos = "<s>", .eos = "</s>"}, name);
    ASSERT_TRUE(chat_template) << chat_template.error().message;
    for (const Chat& chat : chats) {
      const Result<std::string> text = chat_template->Render(chat);
      num_rendered += text.has_value();
      if (!text) {
        EXPECT_EQ(text.error().code, ErrorCode::kInvalidArgument) << name;
        EXPECT_NE(text.error().message, "") << name;
      }
    }
  }
  // The rest are rerankers that want a query, embedders of one message, and the like.
  EXPECT_GE(num_rendered, 310);
  EXPECT_EQ(num_templates, 112);
}

TEST(ChatTemplateTest, PrintsValuesAsPythonDoes) {
  EXPECT_EQ(RenderedWith("{{ a }} {{ a[2] }} {{ a[3] }} {{ a[4] }} {{ a | string }}",
                         R"({"a": ["b", "it's", 1.0, true, null, {"k": [], "é": -0.5}]})"),
            "['b', \"it's\", 1.0, True, None, {'k': [], 'é': -0.5}] 1.0 True None "
            "['b', \"it's\", 1.0, True, None, {'k': [], 'é': -0.5}]");
}

TEST(ChatTemplateTest, WritesJsonAsPythonDoes) {
  const std::string variables = R"({"a": {"z": [1, 2.0, "<é>\u0001\n"], "b": {}, "c": null}})";
  EXPECT_EQ(RenderedWith("{{ a | tojson }}", variables),
            R"({"z": [1, 2.0, "<é>\u0001\n"], "b": {}, "c": null})");
  EXPECT_EQ(RenderedWith("{{ a | tojson(ensure_ascii=true, sort_keys=true) }}", variables),
            R"({"b": {}, "c": null, "z": [1, 2.0, "<\u00e9>\u0001\n"]})");
  EXPECT_EQ(RenderedWith("{{ a.z[:2] | tojson(indent=2) }}{{ [] | tojson(indent=2) }}", variables),
            "[\n  1,\n  2.0\n][]");
  EXPECT_EQ(RenderedWith("{{ a.z[:2] | tojson(separators=(',', ':')) }}", variables), "[1,2.0]");
  EXPECT_EQ(Rendered("{{ '🙂' | tojson(true) }}"), R"("\ud83d\ude42")");
  EXPECT_EQ(RenderedWith("{{ a | tojson }}",
                         R"({"a": [0.1, 1e16, 1.5e-7, 1e15, 0.0001, -0.0, 123456789012345678]})"),
            "[0.1, 1e+16, 1.5e-07, 1000000000000000.0, 0.0001, -0.0, 123456789012345678]");
  EXPECT_THAT(Rendered("{{ missing | tojson }}"), HasSubstr("error: "));
}

TEST(ChatTemplateTest, StringsHavePythonsMethods) {
  EXPECT_EQ(Rendered("{{ 'é-é'.find('-') }} {{ 'aXbX'.rfind('X') }} {{ 'abc'.count('') }}"),
            "1 3 4");
  EXPECT_EQ(Rendered("{{ 'a b  c'.rsplit(None, 1) }} {{ 'a,b,c'.rsplit(',', 1) }}"),
            "['a b', 'c'] ['a,b', 'c']");
  EXPECT_EQ(Rendered("{{ 'a=b'.partition('=') }} {{ 'abc'.removeprefix('a').removesuffix('c') }}"),
            "['a', '=', 'b'] b");
}

TEST(ChatTemplateTest, TheClockCanBeSet) {
  const Chat chat = {.messages_json = "[]", .now_unix_s = 1'700'000'000};
  EXPECT_EQ(Rendered("{{ strftime_now('%Y-%m') }}", chat), "2023-11");
  EXPECT_THAT(Rendered("{{ strftime_now('%Y' * 1000) }}", chat), HasSubstr("error: "));
}

TEST(ChatTemplateTest, GenerationBlocksAreOfNoEffect) {
  EXPECT_EQ(Rendered("a\n{%- generation %}\nb{% endgeneration %}\nc"),
            "ab"
            "c");
}

TEST(ChatTemplateTest, TheTemplatesOwnRefusalIsTold) {
  const auto text =
      Render("{{ raise_exception('roles must alternate') }}", {.messages_json = "[]"});
  ASSERT_FALSE(text);
  EXPECT_EQ(text.error().code, ErrorCode::kInvalidArgument);
  EXPECT_EQ(text.error().param, "messages");
  EXPECT_THAT(text.error().message, HasSubstr("roles must alternate"));
}

TEST(ChatTemplateTest, BadConversationsAreErrors) {
  EXPECT_THAT(Rendered("x", {.messages_json = ""}), HasSubstr("messages"));
  EXPECT_THAT(Rendered("x", {.messages_json = "{}"}), HasSubstr("not an array"));
  EXPECT_THAT(Rendered("x", {.messages_json = "[{}, 1]"}), HasSubstr("messages[1]"));
  EXPECT_THAT(Rendered("x", {.messages_json = "[]", .tools_json = "{}"}), HasSubstr("tools"));
  EXPECT_THAT(RenderedWith("x", R"({"messages": []})"), HasSubstr("must not hold messages"));
  EXPECT_THAT(Rendered("x", {.messages_json = std::string(100'000, '[')}), HasSubstr("recursion"));
  EXPECT_THAT(Rendered("x", {.messages_json = "[{\"content\": \"\xFF\"}]"}), HasSubstr("UTF-8"));
  EXPECT_THAT(Rendered("x", {.messages_json = R"([{"role": "user", "content": [
                              {"type": "image_url", "image_url": {"url": "x"}}]}])"}),
              HasSubstr("messages[0].content[0]: type 'image_url'"));
}

constexpr std::string_view kChatMl =
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}";

TEST(ChatTemplateTest, PartsAreJoinedForTemplatesThatTakeAString) {
  const Chat chat = {.messages_json = R"([{"role": "user", "content": [
                       {"type": "text", "text": "one"}, {"type": "text", "text": "two"}]}])",
                     .add_generation_prompt = false};
  EXPECT_EQ(Rendered(kChatMl, chat), "<|im_start|>user\none\ntwo<|im_end|>\n");
  // Printed as data, or of several parts one only, is not gone through.
  EXPECT_EQ(Rendered("{% for m in messages %}{{ m.content | tojson }}{% endfor %}", chat),
            R"("one\ntwo")");
  EXPECT_EQ(Rendered("{% for m in messages %}{{ m.content if m.content is string else "
                     "m.content[0].text }}{% endfor %}",
                     chat),
            "one\ntwo");
  EXPECT_EQ(Rendered("{% for m in messages %}{% for p in m.content %}[{{ p.text }}]{% endfor %}"
                     "{% endfor %}",
                     chat),
            "[one][two]");
}

TEST(ChatTemplateTest, ArgumentsOfToolCallsTakeTheFormOfTheTemplate) {
  const Chat chat = {.messages_json = R"([{"role": "assistant", "content": "", "tool_calls": [
      {"type": "function", "function": {"name": "f", "arguments": "{\"x\": 1}"}}]}])"};
  const auto source = [](std::string_view arguments) {
    return fmt::format(
        "{{% for m in messages %}}{{{{ m.content }}}}{{% for c in m.tool_calls %}}"
        "{{{{ {} }}}}{{% endfor %}}{{% endfor %}}",
        arguments);
  };
  EXPECT_EQ(Rendered(source("c.function.arguments | tojson"), chat), R"({"x": 1})");
  EXPECT_EQ(Rendered(source("'' + c.function.arguments"), chat), R"({"x": 1})");

  // What the model wrote may be no object.
  const std::string either = source(
      "c.function.arguments if c.function.arguments is string else c.function.arguments | tojson");
  const std::string objects = source("c.function.arguments.items() | list | length");
  const auto with = [](std::string_view arguments) {
    return Chat{.messages_json = fmt::format(
                    R"([{{"role": "assistant", "content": null, "tool_calls": [
                        {{"type": "function", "function": {{"name": "f", "arguments": {}}}}}]}}])",
                    arguments)};
  };
  for (const char* none : {R"("")", "null", R"("null")", R"(" ")", "{}"}) {
    EXPECT_EQ(Rendered(either, with(none)), "{}") << none;
    EXPECT_EQ(Rendered(source("'' + c.function.arguments"), with(none)), "{}") << none;
    EXPECT_EQ(Rendered(objects, with(none)), "0") << none;
  }
  EXPECT_EQ(Rendered(either, with(R"("{\"city\": \"Os")")), R"({"city": "Os)");
  EXPECT_EQ(Rendered(objects, with(R"("{\"city\": \"Os")")), "0");
  EXPECT_EQ(Rendered(either, with(R"(["Oslo"])")), R"(["Oslo"])");
  EXPECT_EQ(Rendered(source("'' + c.function.arguments"), with(R"({"a": ["b", 1.5]})")),
            R"({"a": ["b", 1.5]})");
}

// A template that goes through the user's parts and adds the system's to a text.
TEST(ChatTemplateTest, EachRoleTakesPartsOrNot) {
  const std::string source =
      "{% for m in messages %}{% if m.role == 'system' %}{{ 'S:' + m.content }}{% elif m.content "
      "is "
      "string %}{{ m.content }}{% else %}{% for p in m.content %}[{{ p.text }}]{% endfor %}{% "
      "endif "
      "%}{% endfor %}";
  EXPECT_EQ(Rendered(source, {.messages_json = R"([
      {"role": "system", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]},
      {"role": "user", "content": [{"type": "text", "text": "c"}, {"type": "text", "text": "d"}]},
      {"role": "user", "content": "e"}, {"role": "user", "content": []}])"}),
            "S:a\nb[c][d]e");
}

TEST(ChatTemplateTest, HistoriesOfAgentsAreReadAsTheyComeIn) {
  const auto text = [](std::string_view source, std::string_view message) {
    return Rendered(source, {.messages_json = fmt::format("[{}]", message)});
  };
  const std::string_view prints = "{% for m in messages %}<{{ m.content }}>{% endfor %}";
  const std::string_view adds = "{% for m in messages %}{{ '<' + m['content'] + '>' }}{% endfor %}";
  const std::string_view calls =
      "{% for m in messages %}{% if m.tool_calls is defined %}CALLS{% endif %}{{ m.name }}"
      "{{ m.reasoning_content }}{% endfor %}";
  for (const std::string_view nothing :
       {R"({"role": "assistant"})", R"({"role": "assistant", "content": null, "tool_calls": null})",
        R"({"role": "assistant", "content": [], "tool_calls": [], "name": null})",
        R"({"role": "tool", "content": null, "refusal": null})"}) {
    EXPECT_EQ(text(prints, nothing), "<>");
    EXPECT_EQ(text(adds, nothing), "<>");
    EXPECT_EQ(text(calls, nothing), "");
  }
  EXPECT_EQ(text(calls, R"({"role": "assistant", "reasoning": "why", "name": "n"})"), "nwhy");
}

// DeepSeek's first templates show calls beside a content that is null only.
TEST(ChatTemplateTest, CallsOfToolsAreNotLostToAnEmptyContent) {
  const std::string source =
      "{% for m in messages %}{% if m.role == 'assistant' and m.content is none %}{% for c in "
      "m.tool_calls %}[{{ c.function.name }} {{ c.function.arguments | tojson }}]{% endfor %}"
      "{% else %}{{ m.content }}{% endif %}{% endfor %}";
  for (const char* content : {R"("content": "",)", R"("content": null,)", ""}) {
    const std::string messages = fmt::format(
        R"([{{"role": "assistant", {}"tool_calls": [{{"function": {{"name": "f"}}}}]}}])", content);
    EXPECT_EQ(Rendered(source, {.messages_json = messages}), "[f {}]");
  }
}

TEST(ChatTemplateTest, ASystemMessageIsNeverDropped) {
  const Chat chat = {.messages_json = R"([{"role": "system", "content": "Be brief."},
                                          {"role": "user", "content": "Hello"}])"};
  EXPECT_EQ(Rendered("{% for m in messages %}{% if m.role == 'user' %}U: {{ m.content }}{% endif %}"
                     "{% endfor %}",
                     chat),
            "U: Be brief.\nHello");
  const Chat parts = {.messages_json = R"([{"role": "system", "content": [
                        {"type": "text", "text": "Be"}, {"type": "text", "text": "brief."}]},
                       {"role": "user", "content": "Hello"}])"};
  EXPECT_EQ(Rendered("{% for m in messages %}{% if m.role == 'user' %}U: {{ m.content }}{% endif %}"
                     "{% endfor %}",
                     parts),
            "U: Be\nbrief.\nHello");
}

}  // namespace
}  // namespace lorry::text
