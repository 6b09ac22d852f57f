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
  EXPECT_FALSE(Parse(With(Llama(), R"({"sliding_window": 1024})")));
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
          {R"({"rope_scaling": {"type": "linear", "rope_type": "llama3", "factor": 2}})", invalid,
           "\"type\" is \"linear\", rope_type is"},
          {R"({"rope_theta": 10000, "rope_parameters": {"rope_theta": 500000}})", invalid,
           "that of rope_parameters is 500000"},
          {R"({"rope_scaling": {"rope_type": "linear", "factor": 2, "rope_theta": 500000}})",
           invalid, "that of rope_scaling is 500000"},
          {R"({"auto_map": {"AutoModelForCausalLM": "modeling_own.Own"}})", unsupported,
           "auto_map"},
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

// transformers 5 puts a value beside the rope parameters in place of theirs, 4 does not.
TEST(HfConfigTest, OriginalPositionsBesideTheRopeParameters) {
  const std::string llama3 = R"({"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0,
      "high_freq_factor": 4.0, "original_max_position_embeddings": 8192})";
  for (const std::string key : {"rope_scaling", "rope_parameters"}) {
    const auto parse = [&](int beside, const std::string& rope) {
      return Parse(
          With(Llama(), fmt::format(R"({{"original_max_position_embeddings": {}, "{}": {}}})",
                                    beside, key, rope)));
    };
    ASSERT_FALSE(parse(4096, llama3)) << key;
    EXPECT_THAT(parse(4096, llama3).error().message,
                HasSubstr("\"original_max_position_embeddings\" stands beside"));
    EXPECT_TRUE(parse(8192, llama3)) << "the same";
    EXPECT_FALSE(parse(4096, R"({"rope_type": "linear", "factor": 2})"));
    EXPECT_TRUE(parse(4096, R"({"rope_type": "default"})")) << "nobody reads it";
  }
  EXPECT_TRUE(Parse(With(Llama(), R"({"original_max_position_embeddings": 4096})")));
}

TEST(HfConfigTest, AWindowThatTheFileDoesNotNameIsTheClasss) {
  const auto qwen2 = [](const std::string& fields) {
    return Parse(
        With(Qwen2(), "{\"use_sliding_window\": true, \"max_window_layers\": 0" + fields + "}"));
  };
  ASSERT_FALSE(qwen2(""));
  EXPECT_THAT(qwen2("").error().message, HasSubstr("4096 of 32768 tokens, the class's default"));
  EXPECT_TRUE(qwen2(R"(, "sliding_window": null)")) << "null is no window";
  EXPECT_TRUE(qwen2(R"(, "max_position_embeddings": 4096)")) << "the window is never full";
  EXPECT_FALSE(qwen2(R"(, "max_position_embeddings": 4097)"));
  EXPECT_TRUE(qwen2(R"(, "sliding_window": 32768)"));
  // 28 layers stand before the first with a window, the model has 22.
  EXPECT_TRUE(Parse(With(Qwen2(), R"({"use_sliding_window": true})")));
  EXPECT_FALSE(Parse(With(Qwen2(), R"({"use_sliding_window": true, "num_hidden_layers": 29})")));
  // Llama knows no use_sliding_window, and transformers' cache keeps no more than a window.
  EXPECT_FALSE(Parse(With(Llama(), R"({"sliding_window": 1024, "use_sliding_window": false})")));
  EXPECT_TRUE(Parse(With(Llama(), R"({"sliding_window": 2048})")));
}

TEST(HfConfigTest, AMissingKeyTakesTheClasssDefault) {
  for (auto [object, vocab, ffn, kv_heads, positions] :
       {std::tuple{Llama(), 32000, 11008, 16, 2048}, {Qwen2(), 151936, 22016, 32, 32768}}) {
    for (const char* key : {"vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers",
                            "num_key_value_heads", "rms_norm_eps"}) {
      object.erase(key);
    }
    object["num_attention_heads"] = kv_heads;
    const auto config = Parse(object);
    ASSERT_TRUE(config.has_value()) << config.error().message;
    EXPECT_EQ(config->vocab_size, vocab);
    EXPECT_EQ(config->hidden_size, 4096);
    EXPECT_EQ(config->intermediate_size, ffn);
    EXPECT_EQ(config->num_layers, 32);
    EXPECT_EQ(config->num_kv_heads, kv_heads);
    EXPECT_EQ(config->max_position_embeddings, positions);
    EXPECT_EQ(config->rms_norm_eps, 1e-6);
  }
  boost::json::object qwen2 = Qwen2();
  qwen2["num_key_value_heads"] = nullptr;  // null, unlike nothing, is as many as heads
  EXPECT_EQ(Parse(qwen2)->num_kv_heads, 32);
  qwen2["num_attention_heads"] = 16;
  EXPECT_EQ(Parse(qwen2)->num_kv_heads, 16);
  qwen2.erase("num_key_value_heads");
  EXPECT_FALSE(Parse(qwen2)) << "the default, 32, does not divide 16";
}

// Every parameter of LlamaConfig, Qwen2Config and PretrainedConfig of transformers 4.57.6 and
// what the models and their cache read besides, with an odd value: read and applied, known to
// change nothing, or refused by name.
TEST(HfConfigTest, EveryKeyOfTheClassesIsExactOrRefused) {
  enum Outcome { kApplied, kNothing, kRefused };
  struct Case {
    const char* key;
    const char* odd;
    Outcome llama;
    Outcome qwen2;
  };
  const std::vector<Case> cases = {
      // LlamaConfig and Qwen2Config
      {"vocab_size", "77", kApplied, kApplied},
      {"hidden_size", "4096", kApplied, kApplied},
      {"intermediate_size", "77", kApplied, kApplied},
      {"num_hidden_layers", "3", kApplied, kApplied},
      {"num_attention_heads", "16", kApplied, kApplied},
      {"num_key_value_heads", "8", kApplied, kApplied},
      {"hidden_act", "\"gelu\"", kRefused, kRefused},
      {"hidden_act", "\"swish\"", kNothing, kNothing},
      {"max_position_embeddings", "77", kApplied, kApplied},
      {"initializer_range", "7.0", kNothing, kNothing},
      {"rms_norm_eps", "0.125", kApplied, kApplied},
      {"use_cache", "false", kNothing, kNothing},
      {"pad_token_id", "5", kNothing, kNothing},
      {"bos_token_id", "5", kApplied, kApplied},
      {"eos_token_id", "5", kApplied, kApplied},
      {"pretraining_tp", "2", kNothing, kNothing},
      {"tie_word_embeddings", "true", kApplied, kApplied},
      {"rope_theta", "77.0", kApplied, kApplied},
      {"rope_scaling", R"({"rope_type": "linear", "factor": 2.0})", kApplied, kApplied},
      {"rope_scaling", R"({"rope_type": "longrope"})", kRefused, kRefused},
      {"attention_bias", "true", kApplied, kNothing},
      {"attention_dropout", "0.5", kNothing, kNothing},
      {"mlp_bias", "true", kApplied, kNothing},
      {"head_dim", "24", kApplied, kApplied},
      {"use_sliding_window", "true", kNothing, kRefused},  // the window is the default, 4096
      {"sliding_window", "16", kRefused, kNothing},
      {"max_window_layers", "0", kNothing, kNothing},
      {"layer_types", R"(["sliding_attention"])", kRefused, kRefused},
      // PretrainedConfig
      {"output_hidden_states", "true", kNothing, kNothing},
      {"output_attentions", "true", kNothing, kNothing},
      {"return_dict", "false", kNothing, kNothing},
      {"torchscript", "true", kNothing, kNothing},
      {"dtype", "\"float32\"", kApplied, kApplied},
      {"torch_dtype", "\"float32\"", kApplied, kApplied},
      {"pruned_heads", R"({"0": [1]})", kRefused, kRefused},
      {"chunk_size_feed_forward", "4", kRefused, kRefused},
      {"is_encoder_decoder", "true", kRefused, kRefused},
      {"is_decoder", "true", kNothing, kNothing},
      {"cross_attention_hidden_size", "16", kRefused, kRefused},
      {"add_cross_attention", "true", kRefused, kRefused},
      {"tie_encoder_decoder", "true", kRefused, kRefused},
      {"architectures", R"(["MistralForCausalLM"])", kRefused, kRefused},
      {"finetuning_task", "\"x\"", kNothing, kNothing},
      {"id2label", R"({"0": "x"})", kNothing, kNothing},
      {"label2id", R"({"x": 0})", kNothing, kNothing},
      {"num_labels", "5", kNothing, kNothing},
      {"task_specific_params", R"({"x": {}})", kNothing, kNothing},
      {"problem_type", "\"regression\"", kNothing, kNothing},
      {"tokenizer_class", "\"X\"", kNothing, kNothing},
      {"prefix", "\"x\"", kNothing, kNothing},
      {"sep_token_id", "5", kNothing, kNothing},
      {"decoder_start_token_id", "5", kNothing, kNothing},
      {"model_type", "\"mistral\"", kRefused, kRefused},
      {"transformers_version", "\"9\"", kNothing, kNothing},
      {"attn_implementation", "\"eager\"", kNothing, kNothing},
      {"quantization_config", R"({"quant_method": "awq"})", kRefused, kRefused},
      {"auto_map", R"({"AutoModel": "own.Own"})", kRefused, kRefused},
      {"auto_map", R"({"AutoTokenizer": ["own.Own", null]})", kNothing, kNothing},
      // Read by getattr, or by transformers 5
      {"partial_rotary_factor", "0.5", kRefused, kRefused},
      {"rope_parameters", R"({"rope_type": "yarn", "factor": 2.0})", kRefused, kRefused},
      {"is_causal", "false", kRefused, kRefused},
      {"is_causal", "true", kNothing, kNothing},
      {"attention_chunk_size", "16", kRefused, kRefused},
      {"num_kv_shared_layers", "1", kRefused, kRefused},
      {"text_config", R"({"hidden_size": 8})", kRefused, kRefused},
      // Of other classes
      {"attn_logit_softcapping", "50.0", kRefused, kRefused},
      {"final_logit_softcapping", "30.0", kRefused, kRefused},
      {"attention_multiplier", "0.0078125", kRefused, kRefused},
      {"embedding_multiplier", "12.0", kRefused, kRefused},
      {"embedding_multiplier", "1.0", kNothing, kNothing},
      {"residual_multiplier", "0.22", kRefused, kRefused},
      {"logits_scaling", "8.0", kRefused, kRefused},
      {"clip_qkv", "8.0", kRefused, kRefused},
      {"qk_norm", "true", kRefused, kRefused},
      {"num_local_experts", "8", kRefused, kRefused},
  };
  for (boost::json::object base : {Llama(), Qwen2()}) {
    // Without a pattern of layers that starts late.
    base["max_window_layers"] = 4;
    const HfConfig plain = Parse(base).value();
    for (const Case& c : cases) {
      const std::string what = fmt::format("{} with {}: {}", plain.architecture, c.key, c.odd);
      const Outcome outcome = plain.family == ModelFamily::kLlama ? c.llama : c.qwen2;
      const auto config = Parse(With(base, fmt::format("{{\"{}\": {}}}", c.key, c.odd)));
      ASSERT_EQ(config.has_value(), outcome != kRefused) << what;
      if (outcome != kRefused) {
        EXPECT_EQ(*config == plain, outcome == kNothing) << what;
      } else if (std::string_view(c.key) != "use_sliding_window") {
        EXPECT_THAT(config.error().message,
                    testing::AnyOf(HasSubstr(c.key), HasSubstr("rope_type")))
            << what;
      }
    }
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
