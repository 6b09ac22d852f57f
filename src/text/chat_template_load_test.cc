#include <gmock/gmock.h>

#include <filesystem>
#include <fstream>
#include <thread>
#include <vector>

#include "formats/chat_template_files.h"
#include "text/chat_template.h"
#include "text/test_data.h"

namespace lorry::text {
namespace {

using ::testing::HasSubstr;

class ChatTemplateLoadTest : public testing::Test {
 protected:
  ChatTemplateLoadTest() {
    dir_ =
        std::filesystem::path(testing::TempDir()) / ("chat_template_" + std::to_string(getpid()));
    std::filesystem::remove_all(dir_);
    std::filesystem::create_directories(dir_);
    Write("tokenizer.json", ProjectFile("tiny_tokenizer.json"));
  }
  ~ChatTemplateLoadTest() override { std::filesystem::remove_all(dir_); }

  std::string Write(const std::string& name, const std::string& text) {
    std::ofstream(dir_ / name, std::ios::binary) << text;
    return dir_ / name;
  }

  Result<ChatTemplate> Load(const std::string& file = "") {
    return ChatTemplate::Load(dir_, Tokenizer::Load(dir_).value(), file);
  }

  std::string Rendered(const Result<ChatTemplate>& chat_template, const std::string& tools = "") {
    if (!chat_template) return "error: " + chat_template.error().message;
    return chat_template->Render({.messages_json = "[]", .tools_json = tools}).value_or("error");
  }

  std::filesystem::path dir_;
};

TEST_F(ChatTemplateLoadTest, TheFileGivenComesFirstThenTheModelsThenItsConfig) {
  Write("tokenizer_config.json",
        R"({"chat_template": "config {{ eos_token }}", "eos_token": "E"})");
  EXPECT_EQ(Rendered(Load()), "config E");
  Write("chat_template.jinja", "model {{ eos_token }}\n");
  EXPECT_EQ(Rendered(Load()), "model E");
  EXPECT_EQ(Rendered(Load(Write("mine.jinja", "mine"))), "mine");
}

TEST_F(ChatTemplateLoadTest, AListHasATemplateForTools) {
  Write("tokenizer_config.json", R"({"chat_template": [
      {"name": "default", "template": "plain"}, {"name": "tool_use", "template": "tools"},
      {"name": "rag", "template": "{{ broken"}]})");
  const auto chat_template = Load();
  EXPECT_EQ(Rendered(chat_template), "plain");
  EXPECT_EQ(Rendered(chat_template, "[{}]"), "tools");
}

TEST_F(ChatTemplateLoadTest, ATemplateForToolsMayBeAFileOfItsOwn) {
  std::filesystem::create_directories(dir_ / "additional_chat_templates");
  Write("additional_chat_templates/tool_use.jinja", "tools");
  Write("tokenizer_config.json", R"({"chat_template": "config"})");
  EXPECT_EQ(Rendered(Load()), "config");
  EXPECT_EQ(Rendered(Load(), "[{}]"), "tools");
  Write("chat_template.jinja", "file");
  EXPECT_EQ(Rendered(Load()), "file");
  EXPECT_EQ(Rendered(Load(), "[{}]"), "tools");
}

TEST_F(ChatTemplateLoadTest, TheLimitIsOneInAllPlaces) {
  const auto sized = [&](size_t num_bytes) {
    Write("chat_template.jinja", "{#" + std::string(num_bytes - 5, 'x') + "#}y");
    return Rendered(Load());
  };
  EXPECT_EQ(sized(formats::kMaxChatTemplateBytes), "y");
  EXPECT_THAT(sized(formats::kMaxChatTemplateBytes + 1), HasSubstr("262144"));
  // A template in a larger file is held against the same.
  const auto made =
      ChatTemplate::FromSource(std::string(formats::kMaxChatTemplateBytes + 1, 'x'), {}, "config");
  ASSERT_FALSE(made);
  EXPECT_THAT(made.error().message, HasSubstr("the limit is 262144"));
}

TEST_F(ChatTemplateLoadTest, AModelWithoutATemplateSaysWhatToDo) {
  const auto none = Load();
  ASSERT_FALSE(none);
  EXPECT_EQ(none.error().code, ErrorCode::kNotFound);
  EXPECT_THAT(none.error().message, HasSubstr("--chat-template"));
  Write("tokenizer_config.json", R"({"chat_template": null})");
  EXPECT_EQ(Load().error().code, ErrorCode::kNotFound);
}

TEST_F(ChatTemplateLoadTest, BadTemplatesAreErrorsThatNameTheFile) {
  Write("tokenizer_config.json", R"({"chat_template": 3})");
  EXPECT_THAT(Rendered(Load()), HasSubstr("\"chat_template\""));
  Write("tokenizer_config.json", R"({"chat_template": [{"name": "default"}]})");
  EXPECT_THAT(Rendered(Load()), HasSubstr("\"template\""));
  Write("chat_template.jinja", "{% if %}");
  EXPECT_THAT(Rendered(Load()), HasSubstr("chat_template.jinja"));
  EXPECT_THAT(Rendered(Load("/no/such.jinja")), HasSubstr("/no/such.jinja"));
}

TEST_F(ChatTemplateLoadTest, ManyThreadsShareOne) {
  const ChatTemplate chat_template =
      ChatTemplate::FromSource("{% for m in messages %}{{ m.content }};{% endfor %}", {}, "t")
          .value();
  std::vector<std::jthread> threads;
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([&, i] {
      const std::string content = std::to_string(i);
      const Chat chat = {.messages_json = R"([{"role": "user", "content": ")" + content + "\"}]"};
      for (int round = 0; round < 25; ++round) {
        EXPECT_EQ(chat_template.Render(chat).value(), content + ";");
      }
    });
  }
}

TEST(RealModelsTest, ConfigsWithTemplatesRender) {
  const auto dir = OutsideDir("tokenizers/configs_only");
  if (!dir) GTEST_SKIP() << "LORRY_TEST_DATA is not set";
  int num_templates = 0;
  for (const auto& entry : std::filesystem::directory_iterator(*dir)) {
    if (entry.path().extension() != ".json") continue;
    const boost::json::value config = boost::json::parse(ReadTestFile(entry.path()));
    const auto* source = config.as_object().if_contains("chat_template");
    if (source == nullptr) continue;
    ++num_templates;
    const auto chat_template = ChatTemplate::FromSource(
        std::string(source->as_string()), {.bos = "<bos>", .eos = "<eos>"}, entry.path().string());
    ASSERT_TRUE(chat_template) << chat_template.error().message;
    const auto text = chat_template->Render(
        {.messages_json = R"([{"role": "user", "content": "the question"}])"});
    ASSERT_TRUE(text) << entry.path() << text.error().message;
    EXPECT_THAT(*text, HasSubstr("the question"));
  }
  EXPECT_EQ(num_templates, 6);
}

}  // namespace
}  // namespace lorry::text
