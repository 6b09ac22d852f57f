#include "formats/chat_template_files.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <boost/json/parse.hpp>
#include <filesystem>
#include <fstream>

namespace lorry::formats {
namespace {

namespace fs = std::filesystem;
namespace json = boost::json;

class ChatTemplateFilesTest : public testing::Test {
 protected:
  ChatTemplateFilesTest()
      : dir_(fs::path(testing::TempDir()) / fmt::format("chat_template_files_{}", getpid())) {
    fs::remove_all(dir_);
    fs::create_directories(dir_ / "additional_chat_templates");
  }
  ~ChatTemplateFilesTest() override { fs::remove_all(dir_); }

  void Write(const std::string& name, const std::string& text) {
    std::ofstream(dir_ / name, std::ios::binary) << text;
  }

  Result<ChatTemplates> Read(const std::string& config = "{}") {
    return ReadChatTemplates(dir_, json::parse(config).as_object());
  }

  // "main|tool_use"
  std::string Found(const std::string& config = "{}") {
    const auto found = Read(config);
    return found ? found->main + "|" + found->tool_use : found.error().message;
  }

  fs::path dir_;
};

TEST_F(ChatTemplateFilesTest, EveryPlaceOfTransformers) {
  EXPECT_TRUE(Read()->empty());
  EXPECT_EQ(ToJson(*Read()), json::value(nullptr));
  EXPECT_EQ(Found(R"({"chat_template": "config"})"), "config|");
  EXPECT_EQ(Found(R"({"chat_template": [{"name": "tool_use", "template": "t"},
                                        {"name": "rag", "template": "r"},
                                        {"name": "default", "template": "d"}]})"),
            "d|t");
  EXPECT_EQ(Found(R"({"chat_template": {"default": "d", "tool_use": "t"}})"), "d|t");
  Write("chat_template.json", R"({"chat_template": "processor"})");
  EXPECT_EQ(Found(), "processor|");
  EXPECT_EQ(Found(R"({"chat_template": "config"})"), "config|");
  Write("chat_template.jinja", "file");
  EXPECT_EQ(Found(R"({"chat_template": [{"name": "tool_use", "template": "t"}]})"), "file|");
  Write("additional_chat_templates/tool_use.jinja", "tools");
  Write("additional_chat_templates/rag.jinja", "rag");
  EXPECT_EQ(Found(R"({"chat_template": "config"})"), "file|tools");
  EXPECT_EQ(ToJson(*Read()), json::parse(R"([{"name": "default", "template": "file"},
                                            {"name": "tool_use", "template": "tools"}])"));
  fs::remove(dir_ / "chat_template.jinja");
  EXPECT_EQ(Found(R"({"chat_template": "config"})"), "config|tools");
  fs::remove(dir_ / "chat_template.json");
  EXPECT_EQ(Found(), "|tools");
}

TEST_F(ChatTemplateFilesTest, SaysWhatIsWrong) {
  EXPECT_NE(Found(R"({"chat_template": 5})").find("neither a string nor a list"),
            std::string::npos);
  EXPECT_NE(Found(R"({"chat_template": [5]})").find("no object"), std::string::npos);
  EXPECT_NE(Found(R"({"chat_template": {"default": 5}})").find("default"), std::string::npos);
  Write("additional_chat_templates/tool_use.jinja", std::string(kMaxChatTemplateBytes + 1, 'x'));
  EXPECT_EQ(Read().error().code, ErrorCode::kTooLarge);
  EXPECT_NE(Read().error().message.find("tool_use.jinja"), std::string::npos);
}

}  // namespace
}  // namespace lorry::formats
