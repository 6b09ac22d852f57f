// All chat templates that we have, against what transformers makes of the same chats
// (tests/oracle/make_chat_goldens.py), and against clients who type control tokens.
#include <gtest/gtest.h>

#include <algorithm>
#include <boost/json/serialize.hpp>
#include <filesystem>
#include <functional>
#include <regex>
#include <set>

#include "text/chat_template.h"
#include "text/test_data.h"

namespace lorry::text {
namespace {

namespace json = boost::json;

std::string Digest(std::string_view text) {
  uint64_t value = 0xCBF29CE484222325;  // FNV-1a
  for (const char c : text) value = (value ^ static_cast<uint8_t>(c)) * 0x100000001B3;
  return fmt::format("{:016x}", value);
}

TEST(ChatCorpusTest, PartsAndHistoriesAreAsTransformersWritesThem) {
  const auto dir = OutsideDir("chat_templates");
  if (!dir) GTEST_SKIP() << "LORRY_TEST_DATA is not set";
  const json::value golden = ProjectJson("chat_parts.json");
  const json::array& conversations = golden.at("conversations").as_array();
  int num_compared = 0, num_by_parts = 0;
  for (const auto& [name, expected] : golden.at("templates").as_object()) {
    const std::string path = *dir + "/" + std::string(name);
    const auto chat_template =
        ChatTemplate::FromSource(ReadTestFile(path), {.bos = "<s>", .eos = "</s>"}, path);
    ASSERT_TRUE(chat_template) << chat_template.error().message;
    num_by_parts += !expected.at("parts").as_array().empty();
    for (size_t i = 0; i < conversations.size(); ++i) {
      const json::value& digest = expected.at("texts").at(i);
      if (digest.is_null()) continue;  // refused there: wants tools, a query, other roles
      const auto text = chat_template->Render({.messages_json = json::serialize(conversations[i]),
                                               .now_unix_s = golden.at("now_unix_s").as_int64()});
      ASSERT_TRUE(text) << name << " " << i << ": " << text.error().message;
      EXPECT_EQ(Digest(*text), digest.as_string())
          << name << " " << i << ", parts of " << expected.at("parts") << "\n"
          << *text;
      ++num_compared;
    }
  }
  EXPECT_EQ(golden.at("templates").as_object().size(), 112u);
  EXPECT_GE(num_compared, 385);
  EXPECT_GE(num_by_parts, 36);
}

// Empty: as transformers has it, `text_of` being what is said of a text there.
std::string Difference(const Result<std::string>& ours, const json::value& outcome,
                       const std::function<std::string(const std::string&)>& text_of) {
  if (outcome.is_string()) {
    if (!ours) return "refused: " + ours.error().message;
    return text_of(*ours) == outcome.as_string() ? "" : "other text: " + *ours;
  }
  const std::string message(outcome.at("message").as_string());
  if (ours) return fmt::format("not refused ({}): {}", message, *ours);
  if (ours.error().code != ErrorCode::kInvalidArgument) return "not the client's mistake";
  const bool is_own = outcome.at("error") == "TemplateError";  // the template's raise_exception
  return is_own && ours.error().message.find(message) == std::string::npos
             ? "not its words: " + ours.error().message
             : "";
}

// The engine goes through none as through an empty list: three templates for tools render without
// any, which Jinja2 refuses.
bool GoesThroughNone(const json::value& outcome) {
  return outcome.is_object() && outcome.at("message") == "'NoneType' object is not iterable";
}

TEST(ChatCorpusTest, RefusesWhatTransformersRefuses) {
  const auto dir = OutsideDir("chat_templates");
  if (!dir) GTEST_SKIP() << "LORRY_TEST_DATA is not set";
  const json::value golden = ProjectJson("chat_refusals.json");
  const json::array& conversations = golden.at("conversations").as_array();
  int num_refused = 0, num_empty = 0;
  for (const auto& [name, outcomes] : golden.at("templates").as_object()) {
    const std::string path = *dir + "/" + std::string(name);
    const auto chat_template =
        ChatTemplate::FromSource(ReadTestFile(path), {.bos = "<s>", .eos = "</s>"}, path);
    ASSERT_TRUE(chat_template) << chat_template.error().message;
    for (size_t i = 0; i < conversations.size(); ++i) {
      const auto text = chat_template->Render({.messages_json = json::serialize(conversations[i]),
                                               .now_unix_s = golden.at("now_unix_s").as_int64()});
      num_refused += !text;
      if (GoesThroughNone(outcomes.at(i))) {
        num_empty += text.has_value();
        continue;
      }
      EXPECT_EQ(Difference(text, outcomes.at(i), Digest), "") << name << " " << i;
    }
  }
  EXPECT_GE(num_refused, 290);
  EXPECT_EQ(num_empty, 54);
}

TEST(ChatCorpusTest, SmallTemplatesGoWrongAsInJinja) {
  const json::value golden = ProjectJson("chat_refusals.json");
  const std::string messages = json::serialize(golden.at("small_messages"));
  // The engine orders what Python does not, divides as floats do, and has limits of its own.
  const std::set<std::string_view> differ = {"{{ nothing > 1 }}",
                                             "{{ nothing in 'a' }}",
                                             "{{ nothing[:1] }}",
                                             "{% for x in none %}a{% endfor %}",
                                             "{{ 1 / 0 }}",
                                             "{{ 1 < 'a' }}",
                                             "{{ {} < {} }}",
                                             "{{ 'a' | float }}",
                                             "{{ range(1000000) | length }}",
                                             "{{ namespace(1) }}",
                                             "{{ 'a'.join([1]) }}",
                                             "{{ [1, 'a'] | sort }}"};
  for (const json::value& item : golden.at("small").as_array()) {
    const std::string source(item.at("template").as_string());
    const auto chat_template = ChatTemplate::FromSource(source, {}, "case");
    ASSERT_TRUE(chat_template) << source << "\n" << chat_template.error().message;
    const auto text = chat_template->Render({.messages_json = messages});
    const std::string difference = Difference(text, item.at("outcome"), std::identity());
    EXPECT_EQ(difference.empty(), !differ.contains(source)) << source << "\n" << difference;
  }
}

TEST(ChatCorpusTest, WhiteSpaceIsAsInJinja) {
  const json::value golden = ProjectJson("white_space_cases.json");
  const json::array& cases = golden.at("cases").as_array();
  EXPECT_GE(cases.size(), 400u);
  for (const json::value& item : cases) {
    const std::string source(item.at("template").as_string());
    const auto chat_template = ChatTemplate::FromSource(source, {}, "case");
    ASSERT_TRUE(chat_template) << source << "\n" << chat_template.error().message;
    EXPECT_EQ(chat_template->Render({.messages_json = "[]"}).value_or("error"),
              item.at("expected").as_string())
        << json::serialize(item.at("template"));
  }
}

// What looks like a control token in a template, as its model's tokenizer would have it.
std::set<std::string> ControlTokens(const std::string& source) {
  static const std::regex pattern(R"(<[|｜][^<>'"\s{}]{1,40}[|｜]>|<\/?s>|\[\/?[A-Z_]{3,20}\])");
  std::set<std::string> tokens = {"<s>", "</s>", "<|never_written|>"};
  for (std::sregex_iterator it(source.begin(), source.end(), pattern), end; it != end; ++it) {
    tokens.insert(it->str());
  }
  return tokens;
}

Tokenizer WithSpecial(const std::set<std::string>& tokens) {
  json::object added;
  int id = 300;
  for (const std::string& token : tokens) {
    added[std::to_string(id++)] = {{"content", token}, {"special", true}, {"normalized", false}};
  }
  return Tokenizer::FromJson(ProjectFile("tiny_tokenizer.json"),
                             json::serialize(json::object{{"added_tokens_decoder", added}}), "tiny")
      .value();
}

// A chat in which `text` stands wherever a client may write.
Chat ChatWith(std::string_view text) {
  const auto marked = [&](std::string_view where) { return fmt::format("{}{}", where, text); };
  const json::object call = {
      {"id", marked("c12345678")},
      {"type", "function"},
      {"function",
       {{"name", marked("f")}, {"arguments", json::object{{marked("key"), marked("value")}}}}}};
  const json::array messages = {
      {{"role", "system"}, {"content", marked("system")}},
      {{"role", "user"}, {"content", marked("user")}, {"name", marked("name")}},
      {{"role", "assistant"},
       {"content", marked("said")},
       {"reasoning_content", marked("thought")},
       {"tool_calls", json::array{call}}},
      {{"role", "tool"},
       {"tool_call_id", marked("c12345678")},
       {"name", marked("f")},
       {"content", marked("result")}},
      {{"role", "user"},
       {"content", json::array{{{"type", "text"}, {"text", marked("part")}},
                               {{"type", "text"}, {"text", std::string(text)}}}}}};
  const json::array tools = {{{"type", "function"},
                              {"function",
                               {{"name", marked("f")},
                                {"description", marked("does")},
                                {"parameters",
                                 {{"type", "object"},
                                  {"required", json::array{marked("key")}},
                                  {"properties",
                                   {{marked("key"),
                                     {{"type", "string"},
                                      {"description", marked("what")},
                                      {"enum", json::array{marked("one")}}}}}}}}}}}};
  const json::array documents = {{{"title", marked("title")}, {"text", marked("text")}}};
  const json::object variables = {
      {"date_string", marked("today")},
      {"enable_thinking", true},
      {"reasoning_effort", marked("high")},
      {"model_identity", marked("who")},
      {"thinking_budget", 5},
      {"custom_tools", json::array{json::object{{"name", marked("t")}}}},
      {"bos_token", marked("bos")},
      {"system_message", marked("other")},
      {"deep", {{"er", json::array{marked("in")}}}}};
  return {.messages_json = json::serialize(messages),
          .tools_json = json::serialize(tools),
          .documents_json = json::serialize(documents),
          .variables_json = json::serialize(variables)};
}

TEST(ChatCorpusTest, NobodyTypesControlTokensAnywhere) {
  const auto dir = OutsideDir("chat_templates");
  if (!dir) GTEST_SKIP() << "LORRY_TEST_DATA is not set";
  int num_compared = 0;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(*dir)) {
    if (entry.path().extension() != ".jinja") continue;
    const std::string name = entry.path().filename();
    const std::string source = ReadTestFile(entry.path());
    const std::set<std::string> tokens = ControlTokens(source);
    const Tokenizer tokenizer = WithSpecial(tokens);
    const ChatTemplate chat_template =
        ChatTemplate::FromSource(source, {.bos = "<s>", .eos = "</s>"}, name).value();
    const auto specials = [&](const Chat& chat) -> std::optional<std::vector<TokenId>> {
      const auto rendered = chat_template.RenderAndEncode(chat, tokenizer);
      if (!rendered) return std::nullopt;
      std::vector<TokenId> ids;
      std::ranges::copy_if(rendered->ids, std::back_inserter(ids),
                           [&](TokenId id) { return tokenizer.IsSpecial(id); });
      return ids;
    };
    const auto plain = specials(ChatWith("~"));
    if (!plain) continue;
    int num_attacks = 0;
    for (const std::string& token : tokens) {
      if (++num_attacks > 6) break;
      const auto attacked = specials(ChatWith(token));
      if (attacked) {  // else refused
        EXPECT_EQ(*attacked, *plain) << name << ": " << token;
        ++num_compared;
      }
    }
    // Nor is an ordinary chat refused, or read otherwise.
    Chat chat = ChatWith("~");
    const auto guarded = chat_template.RenderAndEncode(chat, tokenizer).value();
    chat.guard_special_tokens = false;
    EXPECT_EQ(guarded.ids, chat_template.RenderAndEncode(chat, tokenizer).value().ids) << name;
  }
  EXPECT_GE(num_compared, 200);
}

}  // namespace
}  // namespace lorry::text
