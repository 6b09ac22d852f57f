#include "formats/peft_config.h"

#include <gmock/gmock.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>

#include "formats/json.h"
#include "formats/test_files.h"

namespace lorry::formats {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Pair;

// A config of type LORA with these fields more: `"r": 4, …`.
Result<PeftLoraConfig> Parse(const std::string& fields) {
  const std::string text = "{\"peft_type\": \"LORA\"" + (fields.empty() ? "" : ", " + fields) + "}";
  return ParsePeftLoraConfig(ParseJsonObject(text, "a.json").value(), "a.json");
}

TEST(PeftConfigTest, DefaultsArePefts) {
  const auto config = Parse("");
  ASSERT_TRUE(config.has_value()) << config.error().message;
  EXPECT_EQ(config->rank, 8);
  EXPECT_EQ(config->alpha, 8.0);
  EXPECT_FALSE(config->use_rslora);
  EXPECT_EQ(config->target_modules.kind, ModuleSelector::Kind::kUnset);
  EXPECT_EQ(config->exclude_modules.kind, ModuleSelector::Kind::kUnset);
}

TEST(PeftConfigTest, ReadsEveryField) {
  const auto config = Parse(
      R"("r": 4, "lora_alpha": 10.5, "use_rslora": true, "target_modules": ["q_proj", "v_proj"],
      "exclude_modules": "x.*", "layers_to_transform": 3, "layers_pattern": ["h", "layers"],
      "rank_pattern": {"z": 2, "a": 512}, "alpha_pattern": {"b": 1, "a": 0.5}, "base_model_name_or_path": "base",
      "task_type": "CAUSAL_LM", "bias": "none", "lora_dropout": 0.1, "inference_mode": true, "peft_version": "0.21.2")");
  ASSERT_TRUE(config.has_value()) << config.error().message;
  EXPECT_EQ(config->rank, 4);
  EXPECT_EQ(config->alpha, 10.5);
  EXPECT_TRUE(config->use_rslora);
  EXPECT_THAT(config->target_modules.names, ElementsAre("q_proj", "v_proj"));
  EXPECT_EQ(config->exclude_modules.regex, "x.*");
  EXPECT_THAT(config->layers_to_transform, ElementsAre(3));
  EXPECT_THAT(config->layers_pattern, ElementsAre("h", "layers"));
  EXPECT_THAT(config->rank_pattern, ElementsAre(Pair("z", 2), Pair("a", 512)));  // as in the file
  EXPECT_THAT(config->alpha_pattern, ElementsAre(Pair("b", 1.0), Pair("a", 0.5)));
  EXPECT_EQ(config->base_model_name, "base");
}

TEST(PeftConfigTest, TargetModulesInEveryForm) {
  using Kind = ModuleSelector::Kind;
  EXPECT_EQ(Parse(R"("target_modules": null)")->target_modules.kind, Kind::kUnset);
  EXPECT_EQ(Parse(R"("target_modules": "All-Linear")")->target_modules.kind, Kind::kAllLinear);
  EXPECT_EQ(Parse(R"("target_modules": ".*q")")->target_modules.kind, Kind::kRegex);
  EXPECT_EQ(Parse(R"("target_modules": [])")->target_modules.kind, Kind::kNames);
}

TEST(PeftConfigTest, NeutralValuesAndTrainingSettingsAreAccepted) {
  for (
      const std::string fields :
      {R"("use_dora": false, "modules_to_save": null, "layer_replication": [], "lora_bias": false, "kasa_config": null)",
       R"("future_key": null, "another": false, "and": {}, "more": [], "text": "")",
       R"("task_type": null)",
       R"("task_type": "SEQ_2_SEQ_LM")",
       R"("task_type": "SEQ_CLS")",
       R"("task_type": "TOKEN_CLS")",
       R"("task_type": "QUESTION_ANS")",
       R"("task_type": "FEATURE_EXTRACTION")",
       R"("init_lora_weights": true)",
       R"("init_lora_weights": false)",
       R"("init_lora_weights": "gaussian")",
       R"("init_lora_weights": "eva", "eva_config": {"rho": 2.0})",
       R"("init_lora_weights": "orthogonal")",
       R"("init_lora_weights": "mica")",
       R"("loftq_config": {"loftq_bits": 4})",
       R"("megatron_core": "megatron.core")",
       R"("qalora_group_size": 16, "use_qalora": false)",
       R"("fan_in_fan_out": true)",
       R"("ensure_weight_tying": true)",
       R"("runtime_config": {"ephemeral_gpu_offload": true})",
       R"("auto_mapping": {"base_model_class": "X"})",
       R"("layers_pattern": "")",
       R"("layers_to_transform": [])"}) {
    const auto config = Parse(fields);
    ASSERT_TRUE(config.has_value()) << fields << ": " << config.error().message;
    EXPECT_THAT(config->warnings, IsEmpty()) << fields;
  }
}

// PEFT drops what it does not know, with a warning.
TEST(PeftConfigTest, UnknownKeysAreDroppedWithAWarning) {
  const auto config = Parse(
      R"("future_key": 1, "r": 4, "unsloth_fixed": true, "trainer": {"name": "x"}, "no": null)");
  ASSERT_TRUE(config.has_value()) << config.error().message;
  EXPECT_EQ(config->rank, 4);
  EXPECT_THAT(config->warnings, ElementsAre(HasSubstr("\"future_key\" is not a key of PEFT's"),
                                            HasSubstr("unsloth_fixed"), HasSubstr("trainer")));
  std::string many = R"("r": 4)";
  for (int i = 0; i < 1000; ++i) many += fmt::format(R"(, "key{}": 1)", i);
  EXPECT_EQ(Parse(many)->warnings.size(), 16u) << "a file does not fill the log";
}

TEST(PeftConfigTest, RefusesByName) {
  for (const auto& [fields, message] : std::vector<std::pair<std::string, std::string>>{
           {R"("use_dora": 1)", "use_dora"},
           {R"("use_dora": true, "lora_bias": true)", "lora_bias"},
           {R"("use_dora": true, "init_lora_weights": "mica")", "mica"},
           {R"("bias": "some")", "\"bias\""},
           {R"("modules_to_save": "lm_head")", "modules_to_save"},
           {R"("trainable_token_indices": [])", "trainable_token_indices"},
           {R"("trainable_token_indices": [-1])", "negative"},
           {R"("trainable_token_indices": [1, 2, 1])", "token 1 twice"},
           {R"("trainable_token_indices": {"embed_tokens": 1})", "trainable_token_indices"},
           {R"("layer_replication": [[0, 4]])", "layer_replication"},
           {R"("target_parameters": ["x"])", "target_parameters"},
           {R"("megatron_config": {"a": 1})", "megatron_config"},
           {R"("alora_invocation_tokens": [1])", "alora_invocation_tokens"},
           {R"("arrow_config": {"top_k": 3})", "arrow_config"},
           {R"("kasa_config": {"beta": 0.1})", "kasa_config"},
           {R"("use_bdlora": {"nblocks": 2})", "use_bdlora"},
           {R"("use_qalora": true)", "use_qalora"},
           {R"("velora_config": {"scale": 1})", "velora_config"},
           {R"("monteclora_config": {"num_samples": 8})", "monteclora_config"},
           {R"("enable_lora": [true, false, true])", "enable_lora"},
           {R"("use_mora": true)", "use_mora"},
           {R"("lora_nums": 4)", "lora_nums"},
           {R"("init_lora_weights": "pissa")", "pissa"},
           {R"("init_lora_weights": "pissa_niter_16")", "pissa_niter_16"},
           {R"("init_lora_weights": "OLoRA")", "olora"},
           {R"("init_lora_weights": "corda")", "corda"},
           {R"("init_lora_weights": "loftq", "loftq_config": {"loftq_bits": 4})", "loftq"},
           {R"("init_lora_weights": "lora_ga")", "lora_ga"},
           {R"("init_lora_weights": "tomorrow")", "tomorrow"},
           {R"("task_type": "seq_2_seq_lm")", "seq_2_seq_lm"},
           {R"("task_type": "IMAGE_CLS")", "IMAGE_CLS"},
           {R"("r": 0)", "rank 0"},
           {R"("r": 513)", "512"},
           {R"("r": 8.5)", "\"r\""},
           {R"("rank_pattern": {"q": 1000})", "\"q\": rank 1000"},
           {R"("rank_pattern": ["q"])", "rank_pattern"},
           {R"("alpha_pattern": {"q": "x"})", "alpha_pattern"},
           {R"("lora_alpha": 1e300)", "lora_alpha"},
           {R"("use_rslora": 1)", "use_rslora"},
           {R"("target_modules": 3)", "target_modules"},
           {R"("target_modules": ["a", 3])", "target_modules"},
           {R"("target_modules": ".*", "layers_to_transform": [1])", "layers_to_transform"},
           {R"("target_modules": "all-linear", "layers_pattern": "layers")", "layers_pattern"},
           {R"("layers_pattern": "layers")", "needs layers_to_transform"},
           {R"("layers_to_transform": "1")", "layers_to_transform"}}) {
    const auto config = Parse(fields);
    ASSERT_FALSE(config.has_value()) << fields;
    EXPECT_THAT(config.error().message, HasSubstr(message)) << fields;
    EXPECT_THAT(config.error().message, HasSubstr("a.json: ")) << fields;
  }
}

TEST(PeftConfigTest, ReadsWhatGoesBeyondPlainLora) {
  const auto config = Parse(
      R"("use_dora": true, "bias": "lora_only", "modules_to_save": ["lm_head", "norm"],
      "trainable_token_indices": [7, 3], "ensure_weight_tying": true)");
  ASSERT_TRUE(config.has_value()) << config.error().message;
  EXPECT_TRUE(config->use_dora);
  EXPECT_FALSE(config->lora_bias);
  EXPECT_TRUE(config->ensure_weight_tying);
  EXPECT_THAT(config->modules_to_save, ElementsAre("lm_head", "norm"));
  EXPECT_THAT(config->token_indices, ElementsAre(Pair("embed_tokens", ElementsAre(7, 3))));
  EXPECT_THAT(
      Parse(R"("trainable_token_indices": {"lm_head": [1], "embed_tokens": [2]})")->token_indices,
      ElementsAre(Pair("lm_head", ElementsAre(1)), Pair("embed_tokens", ElementsAre(2))));
  EXPECT_TRUE(Parse(R"("lora_bias": true, "bias": "all")")->lora_bias);
  EXPECT_EQ(Parse(R"("target_modules": "dummy-target-modules")")->target_modules.kind,
            ModuleSelector::Kind::kNothing);
}

TEST(PeftConfigTest, TheTypeMustBeThere) {
  EXPECT_THAT(ParsePeftLoraConfig({}, "a.json").error().message,
              HasSubstr("\"peft_type\" is missing"));
}

// A path inside the outside test data; empty where there is none.
std::string TestDataPath(std::string_view name) {
  const char* root = std::getenv("LORRY_TEST_DATA");
  return root == nullptr || *root == '\0' ? "" : fmt::format("{}/{}", root, name);
}

// The configs of a folder of the outside test data, by file name.
std::vector<std::pair<std::string, boost::json::object>> RealConfigs(std::string_view folder) {
  std::vector<std::pair<std::string, boost::json::object>> configs;
  for (const auto& entry : std::filesystem::directory_iterator(TestDataPath(folder))) {
    configs.emplace_back(entry.path().stem().string(),
                         ReadJsonObject(entry.path().string()).value());
  }
  return configs;
}

TEST(PeftConfigTest, RealLoraConfigs) {
  if (TestDataPath("").empty()) GTEST_SKIP() << "LORRY_TEST_DATA is not set";
  // What must be refused of them, and the key that says why.
  const std::vector<std::pair<std::string, std::string>> refused = {{"bdlora", "use_bdlora"},
                                                                    {"kasa", "kasa_config"}};
  const auto configs = RealConfigs("adapter_configs/peft_lora");
  EXPECT_EQ(configs.size(), 15u);
  size_t num_refused = 0;
  for (const auto& [name, object] : configs) {
    const auto config = ParsePeftLoraConfig(object, name);
    const auto reason = std::find_if(refused.begin(), refused.end(), [&](const auto& r) {
      return name.find(r.first) != std::string::npos &&
             !name.starts_with("image-gen__lora__flux2-klein-default");
    });
    if (reason == refused.end()) {
      EXPECT_TRUE(config.has_value()) << config.error().message;
    } else {
      ++num_refused;
      ASSERT_FALSE(config.has_value()) << name;
      EXPECT_THAT(config.error().message, HasSubstr(reason->second)) << name;
    }
  }
  EXPECT_EQ(num_refused, 3u);
}

TEST(PeftConfigTest, RealConfigsOfOtherMethodsAreRefusedByName) {
  if (TestDataPath("").empty()) GTEST_SKIP() << "LORRY_TEST_DATA is not set";
  const auto configs = RealConfigs("adapter_configs/peft_not_lora");
  EXPECT_EQ(configs.size(), 12u);
  for (const auto& [name, object] : configs) {
    const auto config = ParsePeftLoraConfig(object, name);
    ASSERT_FALSE(config.has_value()) << name;
    const std::string method(object.at("peft_type").as_string());
    EXPECT_THAT(config.error().message, HasSubstr("\"" + method + "\" is not supported")) << name;
  }
}

}  // namespace
}  // namespace lorry::formats
