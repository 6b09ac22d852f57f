// Texts that adapters bring, on their way through the catalogue and the disk cache.
#include <gmock/gmock.h>

#include "adapters/catalogue_testing.h"
#include "formats/archive_testing.h"
#include "formats/torch_file_testing.h"

namespace lorry::adapters {
namespace {

using ::testing::HasSubstr;

constexpr std::string_view kTokenizer = R"({"model": {"vocab": {"a": 0}}})";
constexpr std::string_view kOwnTokenizer = R"({"model": {"vocab": {"a": 0, "b": 1}}})";

class OwnTextTest : public CatalogueTest {
 protected:
  OwnTextTest() {
    SetBaseTemplate("base's");
    base_dir_.Write("tokenizer.json", kTokenizer);
    ReadBase();
  }

  void SetBaseTemplate(std::string_view text) { base_dir_.Write("chat_template.jinja", text); }
  void ReadBase() {
    options_.base.text = std::make_shared<const formats::BaseText>(
        formats::BaseText::Read(base_dir_.path()).value());
  }
  // An adapter of always the same weights with these files beside it.
  std::string With(const std::string& name,
                   const std::vector<std::pair<std::string, std::string_view>>& files) {
    const std::string source = Source("all-linear-r8", name);
    for (const auto& [file, text] : files) dir_.Write("sources/" + name + "/" + file, text);
    return source;
  }
  Handle Load(const std::string& name, const std::string& source) {
    const auto registered = Register(name, source).Get();
    EXPECT_TRUE(registered) << registered.error().message;
    return Want(name).Value();
  }

  formats::TempDir base_dir_;
};

TEST_F(OwnTextTest, IsAPartOfTheContent) {
  Start();
  const Handle plain = Load("plain", With("plain", {}));
  EXPECT_TRUE(plain->text.empty());
  const Handle copy = Load(
      "copy", With("copy", {{"tokenizer.json", kTokenizer}, {"chat_template.jinja", "base's"}}));
  EXPECT_EQ(copy->id, plain->id);
  const Handle own = Load("own", With("own", {{"chat_template.jinja", "own"}}));
  EXPECT_NE(own->id, plain->id);
  EXPECT_EQ(own->text.config_json, R"({"chat_template":"own"})");
  EXPECT_EQ(own->text.tokenizer_json, "");
  EXPECT_EQ(Load("again", With("again", {{"chat_template.jinja", "own"}}))->id, own->id);
  const Handle other = Load("other", With("other", {{"tokenizer.json", kOwnTokenizer}}));
  EXPECT_EQ(other->text.tokenizer_json, kOwnTokenizer);
  EXPECT_NE(other->text.id, own->text.id);
}

// Whatever the adapter is packed in.
TEST_F(OwnTextTest, ATemplateForToolsComesFromWhereItLies) {
  Start();
  const std::string file = "additional_chat_templates/tool_use.jinja";
  const std::string plain = With("plain", {{file, "tools"}});
  const Handle expected = Load("plain", plain);
  EXPECT_THAT(expected->text.config_json, HasSubstr(R"({"name":"tool_use","template":"tools"})"));

  const std::string config = formats::ReadWhole(plain + "/adapter_config.json");
  const std::string weights = plain + "/adapter_model.safetensors";
  const std::string torch = formats::pickle::TorchZipOf(weights);
  dir_.Write("torch/adapter_config.json", config);
  dir_.Write("torch/adapter_model.bin", torch);
  dir_.Write("torch/" + file, "tools");
  EXPECT_EQ(Load("torch", dir_.Path("torch"))->id, expected->id);
  using formats::TestFormat;
  for (const TestFormat format : {TestFormat::kTar, TestFormat::kTarGz, TestFormat::kZip}) {
    const std::string name = formats::FormatName(format);
    formats::MakeArchive(dir_.Path(name + ".zip"), format,
                         {{"x/adapter_config.json", config},
                          {"x/" + file, "tools"},
                          {"x/adapter_model.bin", torch}});
    EXPECT_EQ(Load(name, dir_.Path(name + ".zip"))->id, expected->id) << name;
  }
}

TEST_F(OwnTextTest, ComesBackFromTheDiskCache) {
  Start();
  const std::string source =
      With("own", {{"tokenizer.json", kOwnTokenizer}, {"chat_template.jinja", "own"}});
  const Handle before = Load("own", source);
  ASSERT_TRUE(Eventually([&] { return NumImageFiles() == 1; }));
  Restart();
  const Handle after = Want("own").Value();
  ASSERT_NE(after, nullptr);
  EXPECT_TRUE(static_cast<const AdapterImage&>(*after).file) << "it was made anew";
  EXPECT_EQ(after->id, before->id);
  EXPECT_EQ(after->text.id, before->text.id);
  EXPECT_EQ(after->text.tokenizer_json, kOwnTokenizer);
  EXPECT_THAT(std::string(after->text.config_json), HasSubstr("own"));
}

// What is an adapter's own depends on the base's files, which somebody may edit.
TEST_F(OwnTextTest, AnotherTextOfTheBaseIsAnotherImage) {
  Start();
  const std::string source = With("own", {{"chat_template.jinja", "base's"}});
  EXPECT_TRUE(Load("own", source)->text.empty());
  SetBaseTemplate("edited");
  ReadBase();
  Restart();
  const Handle handle = Want("own").Value();
  ASSERT_NE(handle, nullptr);
  EXPECT_EQ(handle->text.config_json, R"({"chat_template":"base's"})");
}

TEST_F(OwnTextTest, WhatIsNoJsonIsRefused) {
  Start();
  const auto refused = Register("bad", With("bad", {{"tokenizer.json", "{"}})).Get();
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, ErrorCode::kUnfit);
  EXPECT_THAT(refused.error().message, HasSubstr("tokenizer.json"));
}

TEST_F(OwnTextTest, WhatRequestsCannotSpeakWithIsSaid) {
  options_.base.check_text = [](const formats::AdapterText& text) -> Status {
    if (text.config_json.find("good") != std::string::npos) return {};
    return Fail(ErrorCode::kUnfit, "cannot be used");
  };
  Start();
  for (const bool is_again : {false, true}) {  // the second time it is at hand
    const AdapterStatus bad =
        Register("bad", With("bad", {{"chat_template.jinja", "bad"}}), is_again).Value();
    ASSERT_TRUE(bad.error);
    EXPECT_EQ(bad.error->message, "cannot be used");
    EXPECT_EQ(bad.failed_until_s, 0);
  }
  ASSERT_TRUE(Register("alias", With("plain", {})).Get());
  EXPECT_FALSE(StatusOf("alias").error);
  EXPECT_TRUE(Update("alias", {.is_pinned = {}, .alias_of = "bad"}).Value().error);
  EXPECT_FALSE(Register("good", With("good", {{"chat_template.jinja", "good"}})).Value().error);
  EXPECT_FALSE(Register("bad", With("plain", {}), true).Value().error);
}

TEST_F(OwnTextTest, AVocabularyOfItsOwnIsOnTheHandle) {
  Start();
  EXPECT_EQ(Load("added", Source("added-saved", "added"))->vocab_size, 85);
  EXPECT_EQ(Load("fewer", Source("fewer-tokens", "fewer"))->vocab_size, 60);
  EXPECT_EQ(Load("plain", With("plain", {}))->vocab_size, 0);
}

}  // namespace
}  // namespace lorry::adapters
