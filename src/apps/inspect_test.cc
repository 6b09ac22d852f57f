#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <boost/json.hpp>
#include <filesystem>

#include "apps/commands.h"
#include "base/testing/source_dir.h"
#include "formats/test_files.h"
#include "formats/torch_file_testing.h"
#include "model/tiny_model_testing.h"

namespace lorry::apps {
namespace {

namespace fs = std::filesystem;
namespace json = boost::json;
using formats::OraclePath;
using testing::HasSubstr;

constexpr char kTokenizer[] = R"({"version": "1.0", "added_tokens": [],
    "pre_tokenizer": {"type": "WhitespaceSplit"},
    "model": {"type": "WordLevel", "vocab": {"a": 0, "b": 1, "<end>": 2}, "unk_token": "a"}})";

class InspectTest : public testing::Test {
 protected:
  InspectTest() {
    options_.adapter.base = OraclePath("qwen2");
    options_.adapter.json = true;
    options_.stack.adapter_cache = dir_.Path("cache");
  }

  json::object Report(const std::string& source, int status = 0) {
    testing::internal::CaptureStdout();
    EXPECT_EQ(Inspect(options_, source), status);
    return json::parse(testing::internal::GetCapturedStdout()).as_object();
  }
  std::string Complaint(const std::string& source) {
    testing::internal::CaptureStderr();
    EXPECT_EQ(Inspect(options_, source), 1);
    return testing::internal::GetCapturedStderr();
  }

  // What was made of a source on this machine is gone again.
  void ExpectNothingStaged() {
    for (const auto& entry : fs::directory_iterator(dir_.Path("cache/staging"))) {
      EXPECT_EQ(entry.path().extension(), ".lock") << entry.path();
    }
  }

  const std::string adapter_ = OraclePath("qwen2/adapters/full-r8");
  formats::TempDir dir_;
  Options options_;
};

TEST_F(InspectTest, ATorchFileIsReadAsAServerReadsIt) {
  const json::object plain = Report(adapter_);
  EXPECT_EQ(plain.at("fits"), true);
  EXPECT_EQ(plain.at("applied"), 21);
  dir_.Write("torch/adapter_config.json", formats::ReadWhole(adapter_ + "/adapter_config.json"));
  dir_.Write("torch/adapter_model.bin",
             formats::pickle::TorchZipOf(adapter_ + "/adapter_model.safetensors"));
  EXPECT_EQ(Report(dir_.Path("torch")), plain);
  ExpectNothingStaged();
}

TEST_F(InspectTest, CodeInATorchFileIsRefusedByItsName) {
  dir_.Write("evil/adapter_config.json", formats::ReadWhole(adapter_ + "/adapter_config.json"));
  dir_.Write("evil/adapter_model.bin",
             formats::ReadWhole(SourcePath("tests/data/torch/os_system.bin")));
  EXPECT_THAT(Complaint(dir_.Path("evil")), HasSubstr("system"));
  ExpectNothingStaged();
}

TEST_F(InspectTest, WhatPeftDropsIsShown) {
  const std::string config = formats::ReadWhole(adapter_ + "/adapter_config.json");
  dir_.Write("more/adapter_config.json",
             config.substr(0, config.rfind('}')) + R"(, "of_a_trainer": {"x": 1}})");
  dir_.Write("more/adapter_model.safetensors",
             formats::ReadWhole(adapter_ + "/adapter_model.safetensors"));
  const json::object report = Report(dir_.Path("more"));
  EXPECT_EQ(report.at("fits"), true);
  EXPECT_THAT(std::string(report.at("warnings").at(0).as_string()), HasSubstr("of_a_trainer"));
  EXPECT_FALSE(Report(adapter_).contains("warnings"));
}

// ---- models

class InspectModelTest : public InspectTest {
 protected:
  InspectModelTest() { options_.adapter.base.clear(); }

  // One of the oracle's with a tokenizer beside it.
  std::string ModelWithText(const std::string& name) {
    dir_.Write(name + "/tokenizer.json", kTokenizer);
    for (const auto& entry : fs::directory_iterator(OraclePath(name))) {
      if (entry.is_directory()) continue;
      fs::create_symlink(entry.path(), dir_.Path(name + "/" + entry.path().filename().string()));
    }
    return dir_.Path(name);
  }
};

TEST_F(InspectModelTest, WhatAServerLoadsIsSupported) {
  for (const std::string name : {"llama-default", "llama-biases", "llama-llama3-rope", "qwen2"}) {
    const std::string model = ModelWithText(name);
    json::object report = Report(model);
    EXPECT_EQ(report.at("fits"), true) << name;
    EXPECT_EQ(report.at("chat_template"), false);
    dir_.Write(name + "/chat_template.jinja", "{{ messages }}");
    EXPECT_EQ(Report(model).at("chat_template"), true);
  }
}

TEST_F(InspectModelTest, TextThatAServerRefuses) {
  const std::string model = ModelWithText("qwen2");
  const std::string half = std::string(kTokenizer).substr(0, sizeof(kTokenizer) / 2);
  for (const auto& [file, text, says] : std::vector<std::array<std::string, 3>>{
           {"tokenizer.json", "", "tokenizer.json"},
           {"tokenizer.json", half, "tokenizer.json"},
           {"tokenizer.json", R"({"version": "1.0", "model": {"type": "Oracle"}})",
            "tokenizer.json"},
           {"tokenizer.json", "version https://git-lfs.github.com/spec/v1\n", "Git LFS pointer"},
           {"tokenizer_config.json", "[]", "tokenizer_config.json"},
           {"tokenizer_config.json", R"({"bos_token": 7})", "bos_token"},
           {"tokenizer_config.json", R"({"chat_template": "{% if %}"})", "tokenizer_config.json"},
           {"special_tokens_map.json", "{", "special_tokens_map.json"},
           {"chat_template.jinja", "{% for %}", "chat_template.jinja"},
           {"additional_chat_templates/tool_use.jinja", "{{", "additional_chat_templates"}}) {
    dir_.Write("qwen2/" + file, text);
    if (file.starts_with("additional")) dir_.Write("qwen2/chat_template.jinja", "fine");
    const json::object report = Report(model, 1);
    EXPECT_EQ(report.at("fits"), false) << file << text;
    EXPECT_THAT(json::serialize(report.at("reasons")), HasSubstr(says)) << text;
    fs::remove(dir_.Path("qwen2/" + file));
    dir_.Write("qwen2/tokenizer.json", kTokenizer);
  }
  fs::remove(dir_.Path("qwen2/tokenizer.json"));
  EXPECT_EQ(Report(model, 1).at("fits"), false);
}

// All that a server refuses, by the same words.
TEST_F(InspectModelTest, EveryKindOfBrokenCheckpointIsNotSupported) {
  for (const model::BrokenModel& broken : model::BrokenModels()) {
    const formats::TempDir dir;
    broken.write(dir);
    const json::object report = Report(dir.path(), 1);
    EXPECT_EQ(report.at("fits"), false) << broken.what;
    std::string reasons;
    for (const json::value& reason : report.at("reasons").as_array()) {
      reasons += std::string(reason.as_string()) + "\n";
    }
    EXPECT_THAT(reasons, HasSubstr(broken.message)) << broken.what;
  }
}

TEST_F(InspectModelTest, ConfigsThatAServerRefuses) {
  for (const auto& [fields, key] : std::vector<std::pair<std::string, std::string>>{
           {R"(, "is_causal": false)", "is_causal"},
           {R"(, "attn_logit_softcapping": 50.0)", "attn_logit_softcapping"},
           {R"(, "max_position_embeddings": 99999999)", "dimension"}}) {
    model::TinyModel tiny;
    tiny.fields = fields;
    tiny.Write(dir_);
    const json::object report = Report(dir_.path(), 1);
    EXPECT_THAT(json::serialize(report.at("reasons")), HasSubstr(key));
  }
}

// ---- text of its own

constexpr char kOwnTokenizer[] = R"({"version": "1.0", "added_tokens": [
      {"id": 2, "content": "<end>", "special": true, "single_word": false, "lstrip": false,
       "rstrip": false, "normalized": false},
      {"id": 5000, "content": "<tool\u001b>", "special": false, "single_word": false,
       "lstrip": false, "rstrip": false, "normalized": false}],
    "pre_tokenizer": {"type": "WhitespaceSplit"},
    "model": {"type": "WordLevel", "vocab": {"a": 0, "c": 1, "<end>": 2}, "unk_token": "a"}})";

class InspectTextTest : public InspectTest {
 protected:
  InspectTextTest() {
    for (const std::string file : {"config.json", "generation_config.json"}) {
      dir_.Write("base/" + file, formats::ReadWhole(OraclePath("qwen2/") + file));
    }
    dir_.Write("base/tokenizer.json", kTokenizer);
    dir_.Write("base/tokenizer_config.json", R"({"chat_template": "base's"})");
    for (const std::string file : {"adapter_config.json", "adapter_model.safetensors"}) {
      dir_.Write("own/" + file, formats::ReadWhole(adapter_ + "/" + file));
    }
    options_.adapter.base = dir_.Path("base");
  }
  json::object OwnReport(int status = 0) { return Report(dir_.Path("own"), status); }
  std::string Shown() {
    options_.adapter.json = false;
    testing::internal::CaptureStdout();
    EXPECT_EQ(Inspect(options_, dir_.Path("own")), 0);
    options_.adapter.json = true;
    return testing::internal::GetCapturedStdout();
  }
};

TEST_F(InspectTextTest, NothingAndCopiesAreTheBases) {
  const json::object plain = OwnReport();
  EXPECT_TRUE(plain.at("text").is_null());
  EXPECT_THAT(Shown(), HasSubstr("the base's\n"));
  dir_.Write("own/tokenizer.json", kTokenizer);
  EXPECT_EQ(OwnReport(), plain);
  EXPECT_THAT(Shown(), HasSubstr("the base's, which its own files repeat"));
  fs::remove(dir_.Path("base/tokenizer.json"));
  EXPECT_THAT(Shown(), HasSubstr("unknown, the base has no tokenizer.json"));
}

TEST_F(InspectTextTest, AChatTemplateAndEndsOfItsOwn) {
  const json::object plain = OwnReport();
  dir_.Write("own/chat_template.jinja", "own");
  dir_.Write("own/generation_config.json", R"({"eos_token_id": [1, 2]})");
  const json::object report = OwnReport();
  const json::object& text = report.at("text").as_object();
  EXPECT_EQ(text.at("tokenizer"), "base");
  EXPECT_EQ(text.at("chat_template"), "own");
  EXPECT_EQ(text.at("eos_token_id"), (json::array{1, 2}));
  EXPECT_NE(report.at("id"), plain.at("id")) << "a server knows it under another id, too";
  EXPECT_THAT(Shown(), HasSubstr("its own: chat template; texts end at [1,2] too"));
}

TEST_F(InspectTextTest, ATokenizerOfItsOwn) {
  dir_.Write("own/tokenizer.json", kOwnTokenizer);
  dir_.Write("own/tokenizer_config.json", R"({"eos_token": "<end>"})");
  const json::object report = OwnReport();
  const json::object& text = report.at("text").as_object();
  EXPECT_EQ(text.at("tokenizer"), "own");
  EXPECT_EQ(text.at("tokens"), 4);
  EXPECT_EQ(text.at("own_tokens"), 2);
  EXPECT_EQ(text.at("own_token_names"), (json::array{"c", "<tool\x1b>"}));
  EXPECT_EQ(text.at("tokens_without_weights"), 1);
  EXPECT_EQ(text.at("roles"), (json::object{{"eos_token", "<end>"}}));
  EXPECT_EQ(text.at("chat_template"), "base");
  const std::string shown = Shown();
  EXPECT_THAT(shown, HasSubstr("tokenizer of 4 tokens, 2 of them not the base's: \"c\", "));
  EXPECT_THAT(shown, HasSubstr("1 of its tokens have no weights"));
  EXPECT_THAT(shown, HasSubstr("eos_token \"<end>\""));
  EXPECT_EQ(shown.find('\x1b'), std::string::npos) << "nothing moves the terminal's cursor";
}

TEST_F(InspectTextTest, WhatCannotBeUsedDoesNotFit) {
  dir_.Write("own/chat_template.jinja", "{% if %}");
  json::object report = OwnReport(1);
  EXPECT_EQ(report.at("fits"), false);
  EXPECT_THAT(std::string(report.at("reasons").at(0).as_string()),
              HasSubstr("chat template cannot be used"));
  dir_.Write("own/chat_template.jinja", "own");
  dir_.Write("own/tokenizer.json", "{");
  report = OwnReport(1);
  EXPECT_THAT(std::string(report.at("reasons").at(0).as_string()), HasSubstr("tokenizer.json"));
}

TEST_F(InspectTest, WhatIsMissingIsNamed) {
  dir_.Write("half/adapter_config.json", "{}");
  EXPECT_THAT(Complaint(dir_.Path("half")), HasSubstr("adapter_model.safetensors"));
  EXPECT_THAT(Complaint(dir_.Path("nowhere")), HasSubstr("nowhere"));
}

}  // namespace
}  // namespace lorry::apps
