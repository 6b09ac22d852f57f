#include "formats/hf_config.h"

#include <gmock/gmock.h>

#include "formats/json.h"
#include "formats/test_files.h"

namespace lorry::formats {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

Result<HfConfig> Parse(const boost::json::object& object) {
  return ParseHfConfig(object, "config.json");
}

boost::json::object Llama() {
  return ParseJsonObject(
             R"({"architectures": ["LlamaForCausalLM"], "model_type": "llama", "vocab_size": 32000,
      "hidden_size": 2048, "intermediate_size": 5632, "num_hidden_layers": 22, "num_attention_heads": 32,
      "num_key_value_heads": 4, "rms_norm_eps": 1e-05})",
             "base")
      .value();
}

boost::json::object Qwen2() {
  boost::json::object object = Llama();
  object["architectures"] = boost::json::array{"Qwen2ForCausalLM"};
  object["model_type"] = "qwen2";
  return object;
}

// `base` with the fields of `changes` put in its place.
boost::json::object With(boost::json::object base, std::string_view changes) {
  const auto fields = ParseJsonObject(changes, "changes").value();
  for (const auto& entry : fields) base[entry.key()] = entry.value();
  return base;
}

TEST(HfConfigTest, LlamaWithDefaults) {
  const auto config = Parse(Llama());
  ASSERT_TRUE(config.has_value()) << config.error().message;
  EXPECT_EQ(config->family, ModelFamily::kLlama);
  EXPECT_EQ(config->head_dim, 64);
  EXPECT_EQ(config->q_size(), 2048);
  EXPECT_EQ(config->kv_size(), 256);
  EXPECT_EQ(config->max_position_embeddings, 2048);
  EXPECT_EQ(config->rope, RopeConfig());
  EXPECT_FALSE(config->qkv_bias || config->o_bias || config->mlp_bias ||
               config->tie_word_embeddings);
  EXPECT_EQ(config->dtype, std::nullopt);
  EXPECT_THAT(config->eos_token_ids, IsEmpty());
}

TEST(HfConfigTest, KvHeadsDefaultToHeads) {
  boost::json::object object = Llama();
  object.erase("num_key_value_heads");
  EXPECT_EQ(Parse(object)->num_kv_heads, 32);
}

TEST(HfConfigTest, BiasesByFamily) {
  const auto qwen2 = Parse(Qwen2());
  ASSERT_TRUE(qwen2.has_value()) << qwen2.error().message;
  EXPECT_TRUE(qwen2->qkv_bias);
  EXPECT_FALSE(qwen2->o_bias || qwen2->mlp_bias);
  const auto llama = Parse(With(Llama(), R"({"attention_bias": true, "mlp_bias": true})"));
  EXPECT_TRUE(llama->qkv_bias && llama->o_bias && llama->mlp_bias);
}

TEST(HfConfigTest, TheTwoFormsOfRopeSayTheSame) {
  const std::string constants = R"("rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0,
      "high_freq_factor": 4.0, "original_max_position_embeddings": 8192)";
  const auto form_4 =
      Parse(With(Llama(), R"({"rope_theta": 500000, "rope_scaling": {)" + constants + "}}"));
  const auto form_5 =
      Parse(With(Llama(), R"({"rope_parameters": {"rope_theta": 500000.0,)" + constants + "}}"));
  ASSERT_TRUE(form_4.has_value()) << form_4.error().message;
  ASSERT_TRUE(form_5.has_value()) << form_5.error().message;
  EXPECT_EQ(form_4->rope, form_5->rope);
  EXPECT_EQ(form_4->rope, (RopeConfig{RopeType::kLlama3, 500000.0, 8.0, 1.0, 4.0, 8192}));
  EXPECT_EQ(Parse(With(Llama(), R"({"rope_scaling": {"type": "linear", "factor": 2}})"))->rope,
            (RopeConfig{.type = RopeType::kLinear, .factor = 2.0}));
  EXPECT_EQ(
      Parse(With(Llama(), R"({"rope_parameters": {"rope_type": "default", "rope_theta": 1e6}})"))
          ->rope,
      (RopeConfig{.theta = 1e6}));
}

TEST(HfConfigTest, TheTwoNamesOfTheType) {
  EXPECT_EQ(Parse(With(Llama(), R"({"torch_dtype": "bfloat16"})"))->dtype, DType::kBF16);
  EXPECT_EQ(Parse(With(Llama(), R"({"dtype": "float16"})"))->dtype, DType::kF16);
  EXPECT_EQ(Parse(With(Llama(), R"({"dtype": "torch.float32"})"))->dtype, DType::kF32);
}

TEST(HfConfigTest, TokenIdsAreOneOrMany) {
  const auto config = Parse(With(Llama(), R"({"bos_token_id": 1, "eos_token_id": [2, 3]})"));
  EXPECT_THAT(config->bos_token_ids, ElementsAre(1));
  EXPECT_THAT(config->eos_token_ids, ElementsAre(2, 3));
}

TEST(HfConfigTest, AWindowThatIsNotUsedIsNoWindow) {
  EXPECT_TRUE(Parse(With(Qwen2(), R"({"sliding_window": 4096, "use_sliding_window": false})")));
  EXPECT_TRUE(Parse(
      With(Qwen2(),
           R"({"sliding_window": 4096, "use_sliding_window": true, "max_window_layers": 22})")));
  EXPECT_FALSE(Parse(
      With(Qwen2(),
           R"({"sliding_window": 4096, "use_sliding_window": true, "max_window_layers": 21})")));
  EXPECT_FALSE(Parse(With(Llama(), R"({"sliding_window": 4096})")));
}

TEST(HfConfigTest, RefusesByName) {
  // What is put in, the code, and part of the message.
  struct Case {
    std::string changes;
    ErrorCode code;
    std::string message;
  };
  const auto unsupported = ErrorCode::kUnsupported, invalid = ErrorCode::kInvalidArgument;
  for (
      const Case& c : std::vector<Case>{
          {R"({"architectures": ["MistralForCausalLM"]})", unsupported,
           "supported are LlamaForCausalLM, Qwen2ForCausalLM"},
          {R"({"architectures": ["LlamaForSequenceClassification"]})", unsupported,
           "LlamaForSequenceClassification"},
          {R"({"architectures": null, "model_type": "gpt2"})", unsupported, "gpt2"},
          {R"({"architectures": null, "model_type": null})", invalid, "architectures"},
          {R"({"model_type": "qwen2"})", invalid, "model_type"},
          {R"({"quantization_config": {"quant_method": "gptq"}})", unsupported, "gptq"},
          {R"({"hidden_act": "gelu"})", unsupported, "gelu"},
          {R"({"rope_scaling": {"rope_type": "yarn", "factor": 4}})", unsupported, "yarn"},
          {R"({"rope_scaling": {"type": "dynamic", "factor": 4}})", unsupported, "dynamic"},
          {R"({"rope_scaling": {"rope_type": "linear"}})", invalid, "\"factor\" is missing"},
          {R"({"rope_scaling": {"rope_type": "linear", "factor": 0}})", invalid, "factor"},
          {R"({"rope_scaling": {"rope_type": "llama3", "factor": 8}})", invalid, "low_freq_factor"},
          {R"({"rope_scaling": "linear"})", invalid, "must be an object"},
          {R"({"rope_parameters": {"full_attention": {"rope_type": "default"}}})", unsupported,
           "differs between layers"},
          {R"({"rope_scaling": {"rope_type": "linear", "factor": 2}, "rope_parameters": {"rope_type": "default"}})",
           invalid, "contradicts"},
          {R"({"rope_theta": 0})", invalid, "rope_theta"},
          {R"({"partial_rotary_factor": 0.5})", unsupported, "partial_rotary_factor"},
          {R"({"layer_types": ["sliding_attention"]})", invalid, "1 entries for 22 layers"},
          {R"({"num_hidden_layers": 1, "layer_types": ["sliding_attention"]})", unsupported,
           "sliding_attention"},
          {R"({"torch_dtype": "float8_e4m3fn"})", unsupported, "float8"},
          {R"({"hidden_size": 0})", invalid, "hidden_size"},
          {R"({"hidden_size": -5})", invalid, "hidden_size"},
          {R"({"hidden_size": "2048"})", invalid, "hidden_size"},
          {R"({"hidden_size": 2049})", invalid, "does not divide hidden_size"},
          {R"({"hidden_size": 9223372036854775807})", invalid, "hidden_size"},
          {R"({"num_key_value_heads": 5})", invalid, "does not divide"},
          {R"({"num_key_value_heads": 64})", invalid, "num_key_value_heads"},
          {R"({"head_dim": 63})", invalid, "even"},
          {R"({"head_dim": 0})", invalid, "head_dim"},
          {R"({"num_hidden_layers": 100000})", invalid, "num_hidden_layers"},
          {R"({"vocab_size": null})", invalid, "\"vocab_size\" is missing"},
          {R"({"rms_norm_eps": -1})", invalid, "rms_norm_eps"},
          {R"({"eos_token_id": -1})", invalid, "eos_token_id"},
          {R"({"tie_word_embeddings": "yes"})", invalid, "tie_word_embeddings"}}) {
    const auto config = Parse(With(Llama(), c.changes));
    ASSERT_FALSE(config.has_value()) << c.changes;
    EXPECT_EQ(config.error().code, c.code) << c.changes;
    EXPECT_THAT(config.error().message, HasSubstr(c.message)) << c.changes;
    EXPECT_THAT(config.error().message, HasSubstr("config.json: ")) << c.changes;
  }
}

TEST(HfConfigTest, ReadsWhatTransformersSaved) {
  const auto llama3 = ReadHfConfig(OraclePath("llama-llama3-rope"));
  ASSERT_TRUE(llama3.has_value()) << llama3.error().message;
  EXPECT_EQ(llama3->head_dim, 24);
  EXPECT_EQ(llama3->rope.type, RopeType::kLlama3);
  EXPECT_EQ(llama3->rope.theta, 500000.0);
  EXPECT_EQ(llama3->dtype, DType::kF16);
  EXPECT_TRUE(llama3->tie_word_embeddings);
  const auto linear = ReadHfConfig(OraclePath("llama-linear-rope"));
  EXPECT_EQ(linear->rope.type, RopeType::kLinear);
  EXPECT_EQ(linear->num_kv_heads, 1);
  for (std::string_view name : {"llama-default", "llama-biases", "qwen2", "qwen2-untied"}) {
    const auto config = ReadHfConfig(OraclePath(name));
    EXPECT_TRUE(config.has_value()) << config.error().message;
  }
}

}  // namespace
}  // namespace lorry::formats
