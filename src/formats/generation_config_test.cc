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
