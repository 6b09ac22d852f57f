#include "model/check_weights.h"

#include <gmock/gmock.h>

#include "model/model.h"
#include "model/model_files.h"
#include "model/tiny_model_testing.h"

namespace lorry::model {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::SizeIs;

Result<std::unique_ptr<Model>> Load(const std::string& directory) {
  LoadOptions options;
  options.max_step_rows = options.max_logit_rows = 4;
  return Model::Load(directory, options, Stream(1));
}

TEST(CheckWeightsTest, WhatIsWholeIsLoaded) {
  const formats::TempDir dir;
  TinyModel().Write(dir);
  const auto model = Load(dir.path());
  ASSERT_TRUE(model.has_value()) << model.error().message;
  EXPECT_EQ((*model)->spec().dtype, DType::kF32);
}

TEST(CheckWeightsTest, EveryKindOfBrokenCheckpointIsRefusedByName) {
  for (const BrokenModel& broken : BrokenModels()) {
    const formats::TempDir dir;
    broken.write(dir);
    const auto model = Load(dir.path());
    ASSERT_FALSE(model.has_value()) << broken.what;
    EXPECT_THAT(model.error().message, HasSubstr(broken.message)) << broken.what;
    EXPECT_THAT(model.error().message, HasSubstr(dir.path())) << broken.what;
  }
}

TEST(CheckWeightsTest, AllThatDoesNotFitIsListed) {
  const formats::TempDir dir;
  TinyModel tiny;
  tiny.Remove("model.norm.weight");
  tiny.Remove("lm_head.weight");
  tiny.At("model.layers.0.mlp.up_proj.weight").shape = "[4, 6]";
  tiny.Add("extra", {1});
  tiny.Write(dir);
  std::vector<std::string> problems;
  EXPECT_FALSE(OpenModelFiles(dir.path(), "auto", &problems));
  EXPECT_THAT(problems, ElementsAre(HasSubstr("lm_head"), HasSubstr("model.norm"),
                                    HasSubstr("up_proj"), HasSubstr("extra")));
  tiny.fields = R"(, "num_hidden_layers": 40)";
  tiny.Write(dir);
  const auto many = OpenModelFiles(dir.path(), "auto", &problems);
  EXPECT_THAT(problems, SizeIs(4 + 39 * 9));
  EXPECT_THAT(many.error().message, HasSubstr("and 347 more"));
}

// Some writers keep the tied copy.
TEST(CheckWeightsTest, ATiedHeadMayBeTheEmbeddingAgain) {
  const formats::TempDir dir;
  TinyModel tiny;
  tiny.fields = R"(, "tie_word_embeddings": true)";
  tiny.At("lm_head.weight").data = tiny.At("model.embed_tokens.weight").data;
  tiny.Add("model.layers.0.self_attn.rotary_emb.inv_freq", {1});  // a constant of old writers
  tiny.Write(dir);
  EXPECT_TRUE(OpenModelFiles(dir.path(), "auto"));
  tiny.At("lm_head.weight").data.back() ^= 1;  // in the last of its values
  tiny.Write(dir);
  EXPECT_FALSE(OpenModelFiles(dir.path(), "auto"));
  tiny.Remove("lm_head.weight");
  tiny.Write(dir);
  EXPECT_TRUE(OpenModelFiles(dir.path(), "auto"));
}

TEST(CheckWeightsTest, DoublesAreTakenAsFloats) {
  const formats::TempDir dir;
  TinyModel tiny;
  tiny.MakeDouble();
  tiny.fields = R"(, "torch_dtype": "float64")";
  tiny.Write(dir);
  const auto model = Load(dir.path());
  ASSERT_TRUE(model.has_value()) << model.error().message;
  EXPECT_EQ((*model)->spec().dtype, DType::kF32);
}

}  // namespace
}  // namespace lorry::model
