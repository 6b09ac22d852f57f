#include "formats/checkpoint.h"

#include <gmock/gmock.h>

#include "base/testing/source_dir.h"
#include "formats/hf_config.h"
#include "formats/test_files.h"

namespace lorry::formats {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

const std::string kOne = MakeSafetensors({{"x", "F32", "[1]", FloatBytes({1})}});
const std::string kTwo = MakeSafetensors({{"y", "F32", "[1, 2]", FloatBytes({2, 3})}});
constexpr char kIndex[] = "model.safetensors.index.json";

TEST(CheckpointTest, SingleFile) {
  TempDir dir;
  dir.Write("model.safetensors", kTwo);
  const auto checkpoint = Checkpoint::Open(dir.path());
  ASSERT_TRUE(checkpoint.has_value()) << checkpoint.error().message;
  EXPECT_TRUE(checkpoint->Has("y"));
  EXPECT_EQ(checkpoint->total_bytes(), 8u);
  EXPECT_TRUE(checkpoint->GetWeight("y", {1, 2}).has_value());
  EXPECT_THAT(checkpoint->GetWeight("y", {2, 1}).error().message, HasSubstr("F32 [1, 2]"));
  EXPECT_THAT(checkpoint->Get("z").error().message, HasSubstr("no tensor \"z\""));
  EXPECT_THAT(checkpoint->ReadF32(checkpoint->Get("y").value()).value(), ElementsAre(2, 3));
  std::vector<std::byte> buffer;
  const TensorView second = checkpoint->Read(checkpoint->Get("y").value(), 1, 1, buffer).value();
  EXPECT_EQ(std::memcmp(second.bytes.data(), FloatBytes({3}).data(), 4), 0);
}

TEST(CheckpointTest, Shards) {
  TempDir dir;
  dir.Write("model-1.safetensors", kOne);
  dir.Write("model-2.safetensors", kTwo);
  dir.Write(
      kIndex,
      R"({"metadata":{},"weight_map":{"x":"model-1.safetensors","y":"model-2.safetensors"}})");
  const auto checkpoint = Checkpoint::Open(dir.path());
  ASSERT_TRUE(checkpoint.has_value()) << checkpoint.error().message;
  EXPECT_EQ(checkpoint->num_shards(), 2u);
  EXPECT_THAT(checkpoint->TensorNames(), ElementsAre("x", "y"));
  EXPECT_THAT(checkpoint->ReadF32(checkpoint->Get("y").value()).value(), ElementsAre(2, 3));
}

// Whoever shortens, lengthens or rewrites a file of the base makes its readers fail, and nobody
// else.
TEST(CheckpointTest, WhatWasWrittenAfterItWasOpenedIsNotGivenOut) {
  const std::string longer = kTwo + "x";
  std::string rewritten = kTwo;
  rewritten.back() ^= 1;
  for (const std::string& content : {std::string(), kTwo.substr(0, kTwo.size() - 1), longer,
                                     rewritten, std::string(kTwo.size(), '\0')}) {
    TempDir dir;
    const std::string path = dir.Write("model.safetensors", kTwo);
    std::filesystem::last_write_time(path, std::filesystem::file_time_type() /* long ago */);
    const auto checkpoint = Checkpoint::Open(dir.path());
    ASSERT_TRUE(checkpoint) << checkpoint.error().message;
    const TensorEntry y = checkpoint->Get("y").value();
    EXPECT_TRUE(checkpoint->ReadF32(y));
    std::ofstream(path, std::ios::binary) << content;  // in place
    const auto values = checkpoint->ReadF32(y);
    ASSERT_FALSE(values) << content.size();
    EXPECT_EQ(values.error().code, ErrorCode::kDataLoss);
    EXPECT_THAT(values.error().message, HasSubstr(path));
  }
}

TEST(CheckpointTest, AFileThatTakesTheNameChangesNothing) {
  TempDir dir;
  dir.Write("model.safetensors", kTwo);
  const auto checkpoint = Checkpoint::Open(dir.path());
  ASSERT_TRUE(checkpoint);
  dir.Write("new", kOne);
  std::filesystem::rename(dir.Path("new"), dir.Path("model.safetensors"));
  EXPECT_THAT(checkpoint->ReadF32(checkpoint->Get("y").value()).value(), ElementsAre(2, 3));
  std::filesystem::remove(dir.Path("model.safetensors"));
  EXPECT_THAT(checkpoint->ReadF32(checkpoint->Get("y").value()).value(), ElementsAre(2, 3));
}

TEST(CheckpointTest, BadIndexes) {
  TempDir outer;
  outer.Write("secret.safetensors", kOne);
  const std::vector<std::pair<std::string, std::string>> cases = {
      {R"({})", "weight_map"},
      {R"({"weight_map":{}})", "is empty"},
      {R"({"weight_map":{"x":3}})", "must be a string"},
      {R"({"weight_map":{"x":"../secret.safetensors"}})", "not the name of a file"},
      {"{\"weight_map\":{\"x\":\"" + outer.Path("secret.safetensors") + "\"}}",
       "not the name of a file"},
      {R"({"weight_map":{"x":".."}})", "not the name of a file"},
      {R"({"weight_map":{"x":"sub/a.safetensors"}})", "not the name of a file"},
      {R"({"weight_map":{"x":""}})", "not the name of a file"},
      {R"({"weight_map":{"x":"one.safetensors\u0000.x"}})", "not the name of a file"},
      {R"({"weight_map":{"x":"absent.safetensors"}})", "absent.safetensors"},
      {R"({"weight_map":{"y":"one.safetensors"}})", "\"y\" is not in"},
      {R"({"weight_map":{"x":"one.safetensors","z":"zwei.safetensors"}})", "is also in"},
  };
  for (const auto& [index, message] : cases) {
    TempDir dir;
    dir.Write("one.safetensors", kOne);
    dir.Write("zwei.safetensors",
              MakeSafetensors({{"x", "I8", "[1]", "a"}, {"z", "I8", "[1]", "b"}}));
    dir.Write(kIndex, index);
    const auto checkpoint = Checkpoint::Open(dir.path());
    ASSERT_FALSE(checkpoint.has_value()) << index;
    EXPECT_THAT(checkpoint.error().message, HasSubstr(message)) << index;
  }
}

TEST(CheckpointTest, SaysWhatIsMissing) {
  TempDir dir;
  EXPECT_EQ(Checkpoint::Open(dir.path()).error().code, ErrorCode::kNotFound);
  dir.Write("pytorch_model.bin", "");
  EXPECT_THAT(Checkpoint::Open(dir.path()).error().message,
              HasSubstr("save the model as safetensors"));
}

TEST(CheckpointTest, OpensWhatTransformersSaved) {
  const auto sharded = Checkpoint::Open(OraclePath("qwen2"));
  ASSERT_TRUE(sharded.has_value()) << sharded.error().message;
  EXPECT_EQ(sharded->num_shards(), 3u);
  EXPECT_TRUE(sharded->GetWeight("model.layers.2.self_attn.k_proj.bias", {32}).has_value());
  EXPECT_FALSE(sharded->Has("lm_head.weight"));
}

TEST(CheckpointTest, OpensAConvertedModel) {
  const std::string dir = SourcePath("tests/data/stories260K");
  const HfConfig config = ReadHfConfig(dir).value();
  const auto checkpoint = Checkpoint::Open(dir);
  ASSERT_TRUE(checkpoint.has_value()) << checkpoint.error().message;
  EXPECT_TRUE(
      checkpoint->GetWeight("model.embed_tokens.weight", {config.vocab_size, config.hidden_size}));
  EXPECT_TRUE(checkpoint->GetWeight("model.layers.4.self_attn.k_proj.weight",
                                    {config.kv_size(), config.hidden_size}));
}

}  // namespace
}  // namespace lorry::formats
