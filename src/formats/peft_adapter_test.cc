#include "formats/peft_adapter.h"

#include <gmock/gmock.h>

#include <cmath>
#include <filesystem>

#include "formats/json.h"
#include "formats/test_files.h"

namespace lorry::formats {
namespace {

using ::testing::HasSubstr;
using ::testing::SizeIs;

// One layer, hidden 4, 2 heads of 2.
HfConfig TinyBase() {
  HfConfig base;
  base.num_layers = 1;
  base.hidden_size = 4;
  base.intermediate_size = 6;
  base.num_heads = base.num_kv_heads = 2;
  base.head_dim = 2;
  base.vocab_size = 6;
  return base;
}

constexpr char kPrefix[] = "base_model.model.model.layers.0.self_attn.q_proj";

TestTensor A(std::string name = std::string(kPrefix) + ".lora_A.weight") {
  return {std::move(name), "F32", "[2, 4]", FloatBytes({1, 2, 3, 4, 5, 6, 7, 8})};
}
TestTensor B(std::string name = std::string(kPrefix) + ".lora_B.weight") {
  return {std::move(name), "F32", "[4, 2]", FloatBytes({1, 2, 3, 4, 5, 6, 7, 8})};
}

constexpr char kConfig[] =
    R"({"peft_type": "LORA", "r": 2, "lora_alpha": 6, "target_modules": ["q_proj"]})";

Result<PeftAdapter> Open(const std::vector<TestTensor>& tensors, AdapterFit* fit = nullptr,
                         const std::string& config = kConfig) {
  TempDir dir;
  dir.Write("adapter_config.json", config);
  dir.Write("adapter_model.safetensors", MakeSafetensors(tensors));
  return OpenPeftAdapter(dir.path(), TinyBase(), fit);
}

TEST(PeftAdapterTest, OpensWhatFits) {
  AdapterFit fit;
  const auto adapter = Open({A(), B()}, &fit);
  ASSERT_TRUE(adapter.has_value()) << adapter.error().message;
  ASSERT_THAT(adapter->modules, SizeIs(1));
  const AdapterModule& module = adapter->modules[0];
  EXPECT_EQ(module.name, "model.layers.0.self_attn.q_proj");
  EXPECT_EQ(module.rank, 2);
  EXPECT_EQ(module.scaling, 3.0);
  EXPECT_EQ(adapter->max_rank(), 2);
  EXPECT_EQ(adapter->weight_bytes(), 64u);
  std::vector<float> a(8);
  ConvertToF32(module.a, a);
  EXPECT_EQ(a[7], 8.0f);
  EXPECT_EQ(fit.Summary(), "applied 1 of 1 modules");
  EXPECT_THAT(fit.reasons, SizeIs(0));
}

TEST(PeftAdapterTest, TakesTheNameDefaultInTensorNames) {
  const std::string prefix = kPrefix;
  EXPECT_TRUE(Open({A(prefix + ".lora_A.default.weight"), B(prefix + ".lora_B.default.weight")})
                  .has_value());
  EXPECT_FALSE(
      Open({A(prefix + ".lora_A.other.weight"), B(prefix + ".lora_B.other.weight")}).has_value());
}

TEST(PeftAdapterTest, DoublesAreTakenAsFloats) {
  const auto wide = [](TestTensor tensor, std::vector<double> values) {
    tensor.dtype = "F64";
    tensor.data.assign(reinterpret_cast<const char*>(values.data()),
                       values.size() * sizeof(double));
    return tensor;
  };
  const auto adapter = Open({wide(A(), {1, 2, 3, 4, 5, 6, 7, 8.0 + 1e-12}), B()});
  ASSERT_TRUE(adapter.has_value()) << adapter.error().message;
  std::vector<float> a(8);
  ConvertToF32(adapter->modules[0].a, a);
  EXPECT_EQ(a, (std::vector<float>{1, 2, 3, 4, 5, 6, 7, 8}));
  const auto huge = Open({A(), wide(B(), {1, 2, 3, 4, 5, 6, 7, 1e300})});
  ASSERT_FALSE(huge.has_value());
  EXPECT_THAT(huge.error().message, HasSubstr("lora_B holds NaN or infinity"));
}

TEST(PeftAdapterTest, WhatPeftDropsIsAWarning) {
  const std::string fields = std::string(kConfig).substr(0, sizeof(kConfig) - 2);
  AdapterFit fit;
  const auto adapter =
      Open({A(), B()}, &fit, fields + R"(, "task_type": "SEQ_2_SEQ_LM", "my_trainer": {"x": 1}})");
  ASSERT_TRUE(adapter.has_value()) << adapter.error().message;
  ASSERT_THAT(fit.warnings, SizeIs(1));
  EXPECT_THAT(fit.warnings[0], HasSubstr("\"my_trainer\" is not a key of PEFT's"));
  // A head for another task is a tensor that nothing makes use of.
  const auto classifier =
      Open({A(), B(), {"base_model.model.score.weight", "F32", "[1, 4]", FloatBytes({1, 2, 3, 4})}},
           &fit, fields + R"(, "task_type": "SEQ_CLS"})");
  ASSERT_FALSE(classifier.has_value());
  EXPECT_THAT(classifier.error().message, HasSubstr("score.weight"));
}

TEST(PeftAdapterTest, IdentityIsTheContent) {
  const auto one = Open({A(), B()}), two = Open({A(), B()});
  EXPECT_EQ(one->id(), two->id());
  EXPECT_NE(one->dir, two->dir);
  TestTensor other = B();
  other.data = FloatBytes({1, 2, 3, 4, 5, 6, 7, 9});
  EXPECT_NE(Open({A(), other})->id(), one->id());
  EXPECT_NE(Open({A(), B()}, nullptr, std::string(kConfig) + " ")->id(), one->id());
}

TEST(PeftAdapterTest, ALongConfigIsPartOfTheIdentityToo) {
  const std::string config = kConfig + std::string(300 << 10, ' ');
  const auto adapter = Open({A(), B()}, nullptr, config);
  ASSERT_TRUE(adapter.has_value()) << adapter.error().message;
  const std::string weights = MakeSafetensors({A(), B()});
  const ContentPart parts[] = {{"adapter_config.json", std::as_bytes(std::span(config))},
                               {"adapter_model.safetensors", std::as_bytes(std::span(weights))}};
  EXPECT_EQ(adapter->id(), HashAdapterContent(parts));
}

TEST(PeftAdapterTest, RefusesWhatDoesNotFitAndSaysAllOfIt) {
  const std::string prefix = kPrefix;
  const auto with = [](TestTensor tensor, std::string dtype, std::string shape, std::string data) {
    return TestTensor{tensor.name, std::move(dtype), std::move(shape), std::move(data)};
  };
  const std::string eight = FloatBytes({1, 2, 3, 4, 5, 6, 7, 8});
  const std::string nan = FloatBytes({1, 2, 3, 4, 5, 6, 7, std::nanf("")});
  const std::string inf = FloatBytes({INFINITY, 2, 3, 4, 5, 6, 7, 8});
  struct Case {
    std::vector<TestTensor> tensors;
    std::string reason;
  };
  const std::vector<Case> cases = {
      {{}, "lora_A is missing"},
      {{A()}, "lora_B is missing"},
      {{with(A(), "F32", "[4, 2]", eight), B()},
       "lora_A is F32 [4, 2], base and config need [2, 4]"},
      {{A(), with(B(), "F32", "[8]", eight)}, "lora_B is F32 [8]"},
      {{with(A(), "F32", "[1, 4]", FloatBytes({1, 2, 3, 4})), B()}, "need [2, 4]"},
      {{with(A(), "I32", "[2, 4]", eight), B()}, "lora_A is I32"},
      {{with(A(), "F32", "[2, 4]", nan), B()}, "lora_A holds NaN or infinity"},
      {{A(), with(B(), "F32", "[4, 2]", inf)}, "lora_B holds NaN or infinity"},
      {{A(), B(), A("base_model.model.model.layers.0.self_attn.v_proj.lora_A.weight")},
       "does not target"},
      {{A(), B(), A("base_model.model.model.layers.1.self_attn.q_proj.lora_A.weight")},
       "makes use of"},
      {{A(), B(), A("model.layers.0.self_attn.q_proj.lora_A.weight")}, "makes use of"},
      {{A(), B(), A(prefix + ".lora_magnitude_vector")}, "does not ask for DoRA"},
      {{A(), B(), A(prefix + ".lora_B.bias")}, "does not ask for lora_bias"},
      {{A(), B(), A("base_model.model.model.embed_tokens.lora_embedding_A")}, "does not target"},
      {{A(), B(), A(prefix + ".lora_A.default.weight")}, "twice"},
      {{A(), B(), A("base_model.model..lora_A.weight")}, "makes use of"},
      {{A(), B(), A("base_model.model.lora_A.weight")}, "makes use of"},
  };
  for (const Case& c : cases) {
    AdapterFit fit;
    const auto adapter = Open(c.tensors, &fit);
    ASSERT_FALSE(adapter.has_value()) << c.reason;
    EXPECT_EQ(adapter.error().code, ErrorCode::kUnfit) << c.reason;
    EXPECT_THAT(adapter.error().message, HasSubstr(c.reason));
    EXPECT_FALSE(fit.reasons.empty());
  }
}

// Tensors of the base's own names that come with the adapter.
TEST(PeftAdapterTest, WhatReplacesTheBase) {
  const std::string sixteen = FloatBytes({1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16});
  const TestTensor k{"base_model.model.model.layers.0.self_attn.k_proj.weight", "F32", "[4, 4]",
                     sixteen};
  const auto adapter = Open({A(), B(), k});
  ASSERT_TRUE(adapter.has_value()) << adapter.error().message;
  ASSERT_THAT(adapter->saved, SizeIs(1));
  EXPECT_EQ(adapter->saved[0].module.projection, Projection::kK);
  EXPECT_FALSE(adapter->saved[0].is_bias);
  EXPECT_EQ(adapter->vocab_size, 6);

  // The base layer of an adapted module has another name, and the base has no biases.
  const TestTensor q{std::string(kPrefix) + ".weight", "F32", "[4, 4]", sixteen};
  EXPECT_THAT(Open({A(), B(), q}).error().message, HasSubstr("does not look for a weight"));
  TestTensor inside = q;
  inside.name = std::string(kPrefix) + ".base_layer.weight";
  EXPECT_TRUE(Open({A(), B(), inside}).has_value());
  const TestTensor bias{std::string(kPrefix) + ".base_layer.bias", "F32", "[4]",
                        FloatBytes({1, 2, 3, 4})};
  EXPECT_THAT(Open({A(), B(), bias}).error().message, HasSubstr("the base has no bias there"));
}

// [rows, 4] under a module's name.
TestTensor Rows(const std::string& name, int rows) {
  return {"base_model.model." + name, "F32", fmt::format("[{}, 4]", rows),
          FloatBytes(std::vector<float>(rows * 4, 0.5f))};
}

TEST(PeftAdapterTest, AVocabularyOfItsOwn) {
  const TestTensor embedding = Rows("model.embed_tokens.weight", 8),
                   head = Rows("lm_head.weight", 8);
  const auto grown = Open({A(), B(), embedding, head});
  ASSERT_TRUE(grown.has_value()) << grown.error().message;
  EXPECT_EQ(grown->vocab_size, 8);
  EXPECT_EQ(grown->added_tokens, 2);
  EXPECT_THAT(grown->Forms(), testing::Contains("2 added tokens"));
  EXPECT_THAT(Open({A(), B(), embedding}).error().message,
              HasSubstr("\"lm_head\": the adapter's vocabulary has 8 tokens and the base's 6"));
  EXPECT_THAT(Open({A(), B(), embedding, Rows("lm_head.weight", 7)}).error().message,
              HasSubstr("need [7, 4]"));
  const auto shrunk = Open({A(), B(), Rows("model.embed_tokens.weight", 5)});
  ASSERT_TRUE(shrunk.has_value()) << shrunk.error().message;
  EXPECT_EQ(shrunk->vocab_size, 5);
  EXPECT_EQ(shrunk->added_tokens, 0);
}

TEST(PeftAdapterTest, TokensAndMagnitudesMustBeThere) {
  const auto error = [](std::vector<TestTensor> more, const std::string& fields) {
    more.push_back(A());
    more.push_back(B());
    const std::string config = std::string(kConfig).substr(0, sizeof(kConfig) - 2) + fields + "}";
    const auto adapter = Open(more, nullptr, config);
    return adapter ? std::string() : adapter.error().message;
  };
  const std::string prefix = kPrefix;
  const TestTensor magnitude{prefix + ".lora_magnitude_vector", "F32", "[4]",
                             FloatBytes({1, 2, 3, 4})};
  const std::string dora = R"(, "use_dora": true)";
  EXPECT_EQ(error({magnitude}, dora), "");
  EXPECT_THAT(error({}, dora), HasSubstr("lora_magnitude_vector is missing"));
  // PEFT 0.9 to 0.21 and those who write its state as it lies in memory.
  for (const std::string suffix : {".weight", ".default", ".default.weight"}) {
    TestTensor other = magnitude;
    other.name += suffix;
    EXPECT_EQ(error({other}, dora), "") << suffix;
    EXPECT_THAT(error({other}, ""), HasSubstr("does not ask for DoRA")) << suffix;
    EXPECT_THAT(error({magnitude, other}, dora), HasSubstr("stands there twice")) << suffix;
  }
  const std::string tokens = R"(, "trainable_token_indices": [5, 0])";
  const TestTensor delta = Rows("model.embed_tokens.token_adapter.trainable_tokens_delta", 2);
  EXPECT_EQ(error({delta}, tokens), "");
  EXPECT_THAT(error({}, tokens), HasSubstr("trainable_tokens_delta is missing"));
  EXPECT_THAT(error({delta}, R"(, "trainable_token_indices": [5, 6])"),
              HasSubstr("token 6 is not in the vocabulary of 6"));
  EXPECT_THAT(error({delta}, ""), HasSubstr("does not look for a weight"));
  EXPECT_THAT(error({}, R"(, "modules_to_save": ["norm"])"), HasSubstr("weight is missing"));
}

TEST(PeftAdapterTest, ThousandsOfReasonsStayReadable) {
  std::vector<TestTensor> tensors = {A(), B()};
  for (int i = 0; i < 5000; ++i) tensors.push_back(A("x" + std::to_string(i)));
  AdapterFit fit;
  const auto adapter = Open(tensors, &fit);
  ASSERT_FALSE(adapter.has_value());
  EXPECT_EQ(fit.num_applied, 1u);
  EXPECT_LT(fit.reasons.size(), 200u);
  EXPECT_LT(adapter.error().message.size(), 4000u);
  EXPECT_THAT(fit.reasons.back(), HasSubstr("and 4900 more"));
}

TEST(PeftAdapterTest, MissingAndForeignFiles) {
  TempDir dir;
  AdapterFit fit;
  EXPECT_EQ(OpenPeftAdapter(dir.path(), TinyBase(), &fit).error().code, ErrorCode::kNotFound);
  EXPECT_THAT(fit.reasons, SizeIs(1));
  dir.Write("adapter_config.json", kConfig);
  EXPECT_EQ(OpenPeftAdapter(dir.path(), TinyBase()).error().code, ErrorCode::kNotFound);
  dir.Write("adapter_model.safetensors", "short");
  EXPECT_EQ(OpenPeftAdapter(dir.path(), TinyBase()).error().code, ErrorCode::kDataLoss);
  dir.Write("adapter_config.json", "{");
  EXPECT_EQ(OpenPeftAdapter(dir.path(), TinyBase()).error().code, ErrorCode::kInvalidArgument);
}

// Every adapter that PEFT saved opens, with as many modules as PEFT adapted.
// A file whose data are a hole of a TiB, so that whoever read it before refusing would be noticed.
void WriteSparse(const TempDir& dir, const std::string& header) {
  const std::string path = dir.Write("adapter_model.safetensors", RawSafetensors(header, ""));
  std::filesystem::resize_file(path, std::filesystem::file_size(path) + (uint64_t{1} << 40));
}

TEST(PeftAdapterTest, WhatTheHeaderShowsIsRefusedBeforeValuesAreRead) {
  constexpr char kQuarter[] = "274877906944";  // TiB / 4
  const std::string all = "[0,1099511627776]";
  const std::pair<std::string, const char*> cases[] = {
      {R"({"more":{"dtype":"U8","shape":[1099511627776],"data_offsets":)" + all + "}}",
       "nothing that this adapter's config makes use of"},
      {fmt::format(R"({{"{}.lora_A.weight":{{"dtype":"F32","shape":[{}],"data_offsets":{}}}}})",
                   kPrefix, kQuarter, all),
       "base and config need [2, 4]"},
      {fmt::format(R"({{"{}.lora_A.weight":{{"dtype":"U8","shape":[2,4],"data_offsets":{}}}}})",
                   kPrefix, all),
       "does not fit"},
  };
  for (const auto& [header, message] : cases) {
    const TempDir dir;
    dir.Write("adapter_config.json", kConfig);
    WriteSparse(dir, header);
    const auto adapter = OpenPeftAdapter(dir.path(), TinyBase());
    ASSERT_FALSE(adapter) << header;
    EXPECT_THAT(adapter.error().message, HasSubstr(message)) << header;
  }
}

TEST(PeftAdapterTest, ItsSizeIsToldBeforeValuesAreRead) {
  const TempDir dir;
  dir.Write("adapter_config.json", kConfig);
  TestTensor a = A();
  a.data = FloatBytes({NAN, 2, 3, 4, 5, 6, 7, 8});  // what reading it would find
  dir.Write("adapter_model.safetensors", MakeSafetensors({a, B()}));
  AdapterSize told;
  const auto refuse = [&](const AdapterSize& size) -> Status {
    told = size;
    return Fail(ErrorCode::kTooLarge, "too large");
  };
  const auto adapter = OpenPeftAdapter(dir.path(), TinyBase(), nullptr, refuse);
  ASSERT_FALSE(adapter);
  EXPECT_EQ(adapter.error().message, "too large");
  EXPECT_EQ(told.max_rank, 2);
  EXPECT_EQ(told.weight_bytes, 64u);
}

TEST(PeftAdapterTest, OpensWhatPeftSaved) {
  const boost::json::object goldens = ReadJsonObject(OraclePath("goldens.json")).value();
  size_t num_adapters = 0;
  for (const boost::json::value& model : goldens.at("models").as_array()) {
    const std::string model_dir = OraclePath(model.at("name").as_string());
    const HfConfig base = ReadHfConfig(model_dir).value();
    for (const boost::json::value& entry : model.at("cases").as_array()) {
      if (entry.at("adapter").is_null()) continue;
      const std::string dir = model_dir + "/" + std::string(entry.at("adapter").as_string());
      const auto adapter = OpenPeftAdapter(dir, base);
      ASSERT_TRUE(adapter.has_value()) << adapter.error().message;
      EXPECT_EQ(static_cast<int64_t>(adapter->modules.size()), entry.at("modules").as_int64())
          << dir;
      ++num_adapters;
    }
  }
  EXPECT_EQ(num_adapters, 83u);
}

TEST(PeftAdapterTest, AnAdapterOfAnotherBaseIsRefused) {
  const HfConfig other = ReadHfConfig(OraclePath("llama-llama3-rope")).value();
  AdapterFit fit;
  const auto adapter = OpenPeftAdapter(OraclePath("llama-default/adapters/full-r8"), other, &fit);
  ASSERT_FALSE(adapter.has_value());
  EXPECT_EQ(adapter.error().code, ErrorCode::kUnfit);
  EXPECT_EQ(fit.num_targeted, 14u);
  EXPECT_LT(fit.num_applied, 14u);
  EXPECT_THAT(fit.reasons,
              testing::Contains(HasSubstr("layers.2")));  // the base has two layers only
}

}  // namespace
}  // namespace lorry::formats
