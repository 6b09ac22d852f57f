// `lorry merge` against PEFT: merged models by their logits and their stored bits, combinations by
// their factors. Goldens and bounds: tests/merge/README.md.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <boost/json.hpp>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "base/testing/source_dir.h"
#include "formats/checkpoint.h"
#include "formats/peft_adapter.h"
#include "formats/safetensors.h"
#include "merge/merge.h"
#include "parity/model_runner.h"

namespace lorry::merge {
namespace {

namespace fs = std::filesystem;
namespace json = boost::json;
using formats::TensorView;

const std::string kData = SourcePath("tests/data/");
const std::string kOracle = kData + "oracle/";
const std::string kGoldens = kData + "merge/";
constexpr double kF32Bound = 1e-4;

std::string ReadText(const std::string& path) {
  std::ifstream file(path);
  std::stringstream text;
  text << file.rdbuf();
  return text.str();
}

json::object ReadJson(const std::string& path) { return json::parse(ReadText(path)).as_object(); }

std::string Text(const json::value& value) { return std::string(value.as_string()); }

std::vector<float> Values(const TensorView& tensor) {
  std::vector<float> values(static_cast<size_t>(tensor.num_elements()));
  formats::ConvertToF32(tensor, values);
  return values;
}

bool Continue(uint64_t, uint64_t) { return true; }

// The largest difference as a part of the largest magnitude.
double RelativeError(const std::vector<float>& actual, const std::vector<float>& expected) {
  if (actual.size() != expected.size()) return INFINITY;
  double difference = 0, magnitude = 0;
  for (size_t i = 0; i < actual.size(); ++i) {
    difference = std::max(difference, std::abs(static_cast<double>(actual[i]) - expected[i]));
    magnitude = std::max(magnitude, std::abs(static_cast<double>(expected[i])));
  }
  return std::isnan(difference) ? INFINITY : difference / magnitude;
}

std::vector<float> Product(const LowRank& factors) {
  std::vector<float> product(static_cast<size_t>(factors.out_features * factors.in_features));
  ProductRows(factors, 0, factors.out_features, product);
  return product;
}

Combination CombinationOf(const json::object& entry) {
  const json::object& options = entry.at("options").as_object();
  Combination combination{.method = *ParseMethod(Text(entry.at("method")))};
  if (options.contains("density")) combination.density = options.at("density").as_double();
  if (options.contains("svd_rank")) combination.svd_rank = options.at("svd_rank").as_int64();
  if (options.contains("majority_sign_method")) {
    EXPECT_EQ(Text(options.at("majority_sign_method")), "frequency");
    combination.majority_sign = MajoritySign::kFrequency;
  }
  return combination;
}

// Of a case of the oracle: one adapter, or the parts of a composition, or none.
std::vector<WeightedAdapter> AdaptersOf(const json::object& test, const std::string& model_dir) {
  std::vector<WeightedAdapter> adapters;
  if (const json::value* parts = test.if_contains("parts")) {
    for (const json::value& part : parts->as_array()) {
      adapters.push_back({model_dir + "/" + Text(part.at(0)), part.at(1).to_number<double>()});
    }
  } else if (test.at("adapter").is_string()) {
    adapters.push_back({model_dir + "/" + Text(test.at("adapter"))});
  }
  return adapters;
}

class MergeParityTest : public testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = testing::TempDir() + "lorry_merge_XXXXXX";
    ASSERT_NE(::mkdtemp(pattern.data()), nullptr);
    temp_ = pattern;
    manifest_ = ReadJson(kGoldens + "goldens.json");
    auto goldens = formats::SafetensorsFile::Read(kGoldens + "goldens.safetensors");
    ASSERT_TRUE(goldens) << goldens.error().message;
    goldens_.emplace(std::move(*goldens));
  }
  void TearDown() override { fs::remove_all(temp_); }

  MergeOptions OptionsOf(const json::object& entry) const {
    MergeOptions options{.base_dir = kOracle + Text(manifest_.at("base")),
                         .combination = CombinationOf(entry),
                         .output_dir = temp_ + "/out",
                         .program = "a test"};
    for (const json::value& adapter : entry.at("adapters").as_array()) {
      options.adapters.push_back({options.base_dir + "/adapters/" + Text(adapter.at("name")),
                                  adapter.at("weight").as_double()});
    }
    return options;
  }

  MergeOptions Single(const std::string& model, const std::string& adapter) const {
    return {.base_dir = kOracle + model,
            .adapters = {{kOracle + model + "/" + adapter}},
            .output_dir = temp_ + "/out",
            .program = "a test"};
  }

  // The directory that was written.
  std::string Run(const MergeOptions& options) {
    fs::remove_all(options.output_dir);
    const auto plan = MergePlan::Open(options);
    EXPECT_TRUE(plan) << plan.error().message;
    if (!plan) return "";
    const Status status = Merge(*plan, Continue);
    EXPECT_TRUE(status) << status.error().message;
    return options.output_dir;
  }

  // Of the model in `dir`, computed in f32, against golden rows.
  double LogitsError(const std::string& dir, const json::value& prompt, const TensorView* golden) {
    auto model = model::Model::Load(dir, {.dtype = "float32"}, stream_);
    EXPECT_TRUE(model) << model.error().message;
    EXPECT_NE(golden, nullptr);
    if (!model || golden == nullptr) return INFINITY;
    const std::vector<float> expected = Values(*golden);
    ModelRunner runner(**model, stream_);
    const auto rows = runner.Append(json::value_to<std::vector<TokenId>>(prompt), nullptr);
    double worst = 0;
    for (size_t row = 0; row < rows.size(); ++row) {
      const auto begin = expected.begin() + static_cast<ptrdiff_t>(row * rows[row].size());
      worst = std::max(
          worst,
          RelativeError(rows[row], {begin, begin + static_cast<ptrdiff_t>(rows[row].size())}));
    }
    return worst;
  }

  std::vector<float> Golden(const std::string& name) const {
    const TensorView* tensor = goldens_->Find(name);
    EXPECT_NE(tensor, nullptr) << name;
    return tensor == nullptr ? std::vector<float>() : Values(*tensor);
  }

  // PEFT's factors of a module. PEFT pads A and B with zeros to the config's rank.
  LowRank GoldenFactors(const std::string& name, const PlannedModule& module) const {
    LowRank factors{.in_features = module.in_features, .out_features = module.out_features};
    factors.a = Golden(name + ".A");
    factors.b = Golden(name + ".B");
    factors.rank = static_cast<int64_t>(factors.a.size()) / module.in_features;
    return factors;
  }

  // Methods that leave no choice of factors must give PEFT's own; the others the same product.
  void ExpectSame(const LowRank& actual, const LowRank& golden, const std::string& what) {
    EXPECT_LE(RelativeError(Product(actual), Product(golden)), 1e-5) << what;
    if (what.starts_with("svd")) return;
    if (actual.rank != golden.rank) {
      EXPECT_TRUE(what.starts_with("cat") || what.starts_with("one")) << what;
      return;
    }
    EXPECT_LE(RelativeError(actual.a, golden.a), 1e-6) << what;
    EXPECT_LE(RelativeError(actual.b, golden.b), 1e-6) << what;
  }

  std::string temp_;
  json::object manifest_;
  std::optional<formats::SafetensorsFile> goldens_;
  Stream stream_{2};
};

// One adapter, every model and adapter of the oracle: the merged model's logits are those of base
// and adapter.
TEST_F(MergeParityTest, MergedModelsAnswerAsBaseAndAdapter) {
  const json::object oracle = ReadJson(kOracle + "goldens.json");
  int num_merged = 0;
  double worst = 0;
  for (const json::value& model : oracle.at("models").as_array()) {
    const std::string name = Text(model.at("name"));
    const auto goldens = formats::SafetensorsFile::Read(kOracle + name + "/goldens.safetensors");
    ASSERT_TRUE(goldens);
    for (const json::value& value : model.at("cases").as_array()) {
      const json::object& test = value.as_object();
      MergeOptions options{.base_dir = kOracle + name,
                           .dtype = DType::kF32,
                           .max_shard_bytes = 150'000,
                           .output_dir = temp_ + "/out",
                           .program = "a test"};
      options.adapters = AdaptersOf(test, options.base_dir);
      if (options.adapters.empty()) continue;
      const std::string key = Text(test.at("name")) + "/0";
      if (const auto plan = MergePlan::Open(options); !plan) {
        EXPECT_EQ(plan.error().code, ErrorCode::kUnsupported) << plan.error().message;
        std::printf("%s %s\n", key.c_str(), plan.error().message.c_str());
        continue;
      }
      const json::object& prompts = test.contains("prompts") ? test : model.as_object();
      const double error =
          LogitsError(Run(options), prompts.at("prompts").as_array()[0], goldens->Find(key));
      EXPECT_LE(error, kF32Bound) << name << " " << key;
      worst = std::max(worst, error);
      ++num_merged;
    }
  }
  EXPECT_GE(num_merged, 76);
  std::printf("%d merged models, worst logit %.1e of the row's largest\n", num_merged, worst);
}

// Several adapters: the factors, the adapter that is written, and the merged model's logits.
TEST_F(MergeParityTest, CombinationsAreThoseOfPeft) {
  int num_cases = 0;
  for (const json::value& value : manifest_.at("cases").as_array()) {
    const json::object& entry = value.as_object();
    if (entry.at("random").as_bool()) continue;
    ++num_cases;
    const std::string name = Text(entry.at("name"));
    MergeOptions options = OptionsOf(entry);
    const auto plan = MergePlan::Open(options);
    ASSERT_TRUE(plan) << plan.error().message;
    EXPECT_EQ(plan->modules().size(), entry.at("num_modules").as_int64()) << name;

    EXPECT_LE(LogitsError(Run(options), manifest_.at("prompt"), goldens_->Find(name + "/logits")),
              kF32Bound)
        << name;

    options.as_adapter = true;
    const auto adapter = formats::OpenPeftAdapter(Run(options), plan->base_config());
    ASSERT_TRUE(adapter) << adapter.error().message;
    EXPECT_EQ(adapter->modules.size(), plan->modules().size()) << name;
    for (const formats::AdapterModule& module : adapter->modules) {
      EXPECT_EQ(module.scaling, 1.0);
      const LowRank written = Unchanged({&module, 1.0, 0});
      const std::string key = name + "/" + module.name;
      if (goldens_->Find(key + ".A") == nullptr) continue;
      ExpectSame(written, GoldenFactors(key, plan->modules().at(module.name)), key);
    }
  }
  EXPECT_EQ(num_cases, 8);
}

// DARE with PEFT's own draws.
TEST_F(MergeParityTest, RandomMethodsAreThoseOfPeftUnderItsMasks) {
  int num_modules = 0;
  for (const json::value& value : manifest_.at("cases").as_array()) {
    const json::object& entry = value.as_object();
    if (!entry.at("random").as_bool()) continue;
    const std::string name = Text(entry.at("name"));
    const auto plan = MergePlan::Open(OptionsOf(entry));
    ASSERT_TRUE(plan) << plan.error().message;
    const MaskSource masks = [&](size_t adapter, const std::string& module, Factor factor, size_t) {
      const TensorView* mask =
          goldens_->Find(name + "/" + module + (factor == Factor::kA ? ".A.mask" : ".B.mask") +
                         std::to_string(adapter));
      EXPECT_NE(mask, nullptr);
      const auto* bytes = reinterpret_cast<const uint8_t*>(mask->bytes.data());
      return std::vector<uint8_t>(bytes, bytes + mask->bytes.size());
    };
    for (const json::value& stored : entry.at("modules").as_array()) {
      const PlannedModule& module = plan->modules().at(Text(stored));
      const std::string key = name + "/" + Text(stored);
      ExpectSame(CombineModule(plan->combination(), module.terms, masks),
                 GoldenFactors(key, module), key);
      ++num_modules;
    }
  }
  EXPECT_EQ(num_modules, 14);
}

// merge_and_unload of models stored in two bytes, bit by bit. The sum over the rank is taken in
// another order, so a value that lies half way between two may go to the other one.
TEST_F(MergeParityTest, StoredBitsAreThoseOfMergeAndUnload) {
  for (const json::value& entry : manifest_.at("merged").as_array()) {
    const std::string model = Text(entry.at("model")), adapter = Text(entry.at("adapter"));
    const auto merged = formats::Checkpoint::Open(Run(Single(model, "adapters/" + adapter)));
    ASSERT_TRUE(merged) << merged.error().message;
    size_t num_values = 0, num_different = 0;
    for (const TensorView& golden : goldens_->tensors()) {
      const std::string prefix = model + "/" + adapter + "/";
      if (!golden.name.starts_with(prefix)) continue;
      const auto tensor = merged->Get(golden.name.substr(prefix.size()));
      ASSERT_TRUE(tensor) << tensor.error().message;
      ASSERT_EQ(tensor->dtype, golden.dtype);
      std::vector<std::byte> stored;
      ASSERT_TRUE(merged->Read(*tensor, 0, tensor->num_elements(), stored));
      for (size_t i = 0; i < golden.bytes.size(); i += 2) {
        int16_t actual, expected;
        std::memcpy(&actual, stored.data() + i, 2);
        std::memcpy(&expected, golden.bytes.data() + i, 2);
        EXPECT_LE(std::abs(actual - expected), 1) << golden.name << " " << i / 2;
        num_different += actual != expected;
        ++num_values;
      }
    }
    EXPECT_GT(num_values, 30'000u);
    EXPECT_LE(static_cast<double>(num_different), 1e-3 * static_cast<double>(num_values));
    std::printf("%s %s: %zu of %zu values one step apart\n", model.c_str(), adapter.c_str(),
                num_different, num_values);
  }
}

TEST_F(MergeParityTest, ShardsTypesAndFilesOfTheOutput) {
  MergeOptions options = Single("llama-linear-rope", "adapters/full-r8");
  options.max_shard_bytes = 60'000;
  const std::string dir = Run(options);
  const auto merged = formats::Checkpoint::Open(dir);
  const auto base = formats::Checkpoint::Open(options.base_dir);
  ASSERT_TRUE(merged && base);
  EXPECT_GT(merged->num_shards(), 3u);
  EXPECT_TRUE(fs::exists(dir + "/model.safetensors.index.json"));
  EXPECT_EQ(merged->TensorNames(), base->TensorNames());
  // What no adapter changes is there as it was.
  for (const char* name : {"model.embed_tokens.weight", "model.layers.0.input_layernorm.weight"}) {
    const formats::TensorEntry tensor = base->Get(name).value();
    EXPECT_EQ(base->ReadF32(tensor).value(), merged->ReadF32(merged->Get(name).value()).value())
        << name;
  }
  EXPECT_EQ(ReadText(dir + "/config.json"), ReadText(options.base_dir + "/config.json"));
  EXPECT_EQ(ReadText(dir + "/generation_config.json"),
            ReadText(options.base_dir + "/generation_config.json"));
  EXPECT_THAT(ReadText(dir + "/README.md"), testing::HasSubstr("| full-r8 | 1 | 14 | 8 |"));
}

TEST_F(MergeParityTest, AnotherTypeIsAllTensorsAndTheConfig) {
  for (const char* model : {"llama-linear-rope", "llama-llama3-rope"}) {  // forms 4 and 5
    MergeOptions options = Single(model, "adapters/full-r8");
    options.dtype = DType::kF32;
    const std::string dir = Run(options);
    const auto config = formats::ReadHfConfig(dir);
    ASSERT_TRUE(config) << config.error().message;
    EXPECT_EQ(config->dtype, DType::kF32) << model;
    const auto merged = formats::Checkpoint::Open(dir);
    ASSERT_TRUE(merged);
    for (const std::string& name : merged->TensorNames()) {
      EXPECT_EQ(merged->Get(name)->dtype, DType::kF32) << name;
    }
  }
}

TEST_F(MergeParityTest, TheSameSeedGivesTheSameAdapter) {
  const auto weights_of = [&](uint64_t seed) {
    MergeOptions options{
        .base_dir = kOracle + "llama-default",
        .adapters = {{kOracle + "llama-default/adapters/exclude-names"},
                     {kOracle + "llama-default/adapters/exclude-regex"}},
        .combination = {.method = Method::kDareLinear, .density = 0.5, .seed = seed},
        .as_adapter = true,
        .output_dir = temp_ + "/out",
        .program = "a test"};
    return ReadText(Run(options) + "/adapter_model.safetensors");
  };
  const std::string first = weights_of(3);
  EXPECT_EQ(weights_of(3), first);
  EXPECT_NE(weights_of(4), first);
}

TEST_F(MergeParityTest, AStoppedOrFailedMergeLeavesNothing) {
  MergeOptions options = Single("llama-default", "adapters/full-r8");
  const auto plan = MergePlan::Open(options);
  ASSERT_TRUE(plan);
  const Status stopped =
      Merge(*plan, [](uint64_t done, uint64_t total) { return done < total / 2; });
  ASSERT_FALSE(stopped);
  EXPECT_EQ(stopped.error().code, ErrorCode::kCancelled);

  // A product beyond what f16 holds.
  options = Single("llama-llama3-rope", "adapters/full-r8");
  options.adapters[0].weight = 1e6;
  const auto too_large = MergePlan::Open(options);
  ASSERT_TRUE(too_large);
  const Status failed = Merge(*too_large, Continue);
  ASSERT_FALSE(failed);
  EXPECT_THAT(failed.error().message, testing::HasSubstr("that F16 cannot hold"));
  EXPECT_TRUE(fs::is_empty(temp_));
}

}  // namespace
}  // namespace lorry::merge
