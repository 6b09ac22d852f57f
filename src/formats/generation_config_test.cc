#include "formats/generation_config.h"

#include <gmock/gmock.h>

#include "formats/json.h"
#include "formats/test_files.h"

namespace lorry::formats {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

Result<GenerationConfig> Parse(std::string_view text) {
  return ParseGenerationConfig(ParseJsonObject(text, "g.json").value(), "g.json");
}

TEST(GenerationConfigTest, ReadsWhatIsThere) {
  const auto config =
      Parse(R"({"eos_token_id": [5, 7], "do_sample": true, "temperature": 0.7, "top_p": 0.8,
                                "min_p": 0.05, "top_k": 20, "repetition_penalty": 1.05, "max_new_tokens": 64})");
  ASSERT_TRUE(config.has_value()) << config.error().message;
  EXPECT_THAT(config->eos_token_ids, ElementsAre(5, 7));
  EXPECT_EQ(config->do_sample, true);
  EXPECT_EQ(config->temperature, 0.7);
  EXPECT_EQ(config->top_p, 0.8);
  EXPECT_EQ(config->min_p, 0.05);
  EXPECT_EQ(config->top_k, 20);
  EXPECT_EQ(config->repetition_penalty, 1.05);
  EXPECT_EQ(config->max_new_tokens, 64);
  EXPECT_THAT(Parse(R"({"eos_token_id": 2})")->eos_token_ids, ElementsAre(2));
}

TEST(GenerationConfigTest, DefaultsThatAreNotAppliedAreRefused) {
  for (const std::string field :
       {R"("num_beams": 4)", R"("no_repeat_ngram_size": 3)", R"("typical_p": 0.9)",
        R"("suppress_tokens": [1, 2])", R"("forced_eos_token_id": 2)", R"("min_new_tokens": 5)",
        R"("guidance_scale": 1.5)", R"("penalty_alpha": 0.6)", R"("stop_strings": ["x"])",
        R"("sequence_bias": [[[1], -1.0]])"}) {
    const auto config = Parse("{" + field + "}");
    ASSERT_FALSE(config.has_value()) << field;
    EXPECT_EQ(config.error().code, ErrorCode::kUnsupported);
    EXPECT_THAT(config.error().message, HasSubstr(field.substr(0, field.find(':'))));
  }
  // What transformers 4 and 5 write where nothing was chosen, and what changes no text.
  EXPECT_TRUE(
      Parse(R"({"num_beams": 1, "no_repeat_ngram_size": 0, "typical_p": 1.0, "stop_strings": null,
      "suppress_tokens": [], "min_length": 0, "min_new_tokens": null, "guidance_scale": null,
      "penalty_alpha": null, "max_length": 4096, "pad_token_id": 0, "transformers_version": "4.57.6",
      "use_cache": true, "renormalize_logits": false, "_from_model_config": true})"));
}

TEST(GenerationConfigTest, AnAbsentFileSetsNothing) {
  TempDir dir;
  const auto config = ReadGenerationConfig(dir.path());
  ASSERT_TRUE(config.has_value());
  EXPECT_THAT(config->eos_token_ids, IsEmpty());
  EXPECT_EQ(config->temperature, std::nullopt);
}

TEST(GenerationConfigTest, RefusesValuesOutOfRange) {
  for (const auto& [text, field] : std::vector<std::pair<std::string, std::string>>{
           {R"({"eos_token_id": -1})", "eos_token_id"},
           {R"({"eos_token_id": "</s>"})", "eos_token_id"},
           {R"({"eos_token_id": [2147483648]})", "eos_token_id"},
           {R"({"temperature": -0.1})", "temperature"},
           {R"({"top_p": 0})", "top_p"},
           {R"({"top_p": 1.5})", "top_p"},
           {R"({"top_k": -3})", "top_k"},
           {R"({"repetition_penalty": 0})", "repetition_penalty"},
           {R"({"max_new_tokens": 0})", "max_new_tokens"}}) {
    const auto config = Parse(text);
    ASSERT_FALSE(config.has_value()) << text;
    EXPECT_THAT(config.error().message, HasSubstr("g.json: \"" + field + "\"")) << text;
  }
}

TEST(GenerationConfigTest, ReadsWhatTransformersSaved) {
  EXPECT_THAT(ReadGenerationConfig(OraclePath("llama-llama3-rope"))->eos_token_ids,
              ElementsAre(2, 5));
}

}  // namespace
}  // namespace lorry::formats
