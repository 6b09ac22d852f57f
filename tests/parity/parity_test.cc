// The engine against transformers + PEFT: every family, every adapter form, every instruction set
// of this processor. Goldens and bounds: tests/oracle/README.md.
#include <gtest/gtest.h>

#include <algorithm>
#include <boost/json.hpp>
#include <cmath>
#include <fstream>
#include <sstream>

#include "adapters/adapter_image.h"
#include "base/testing/source_dir.h"
#include "formats/peft_adapter.h"
#include "formats/safetensors.h"
#include "kernels/isa.h"
#include "parity/model_runner.h"

namespace lorry {
namespace {

namespace json = boost::json;

const std::string kOracle = SourcePath("tests/data/oracle/");

json::object ReadJson(const std::string& path) {
  std::ifstream file(path);
  std::stringstream text;
  text << file.rdbuf();
  return json::parse(text.str()).as_object();
}

std::vector<TokenId> Tokens(const json::value& array) {
  return json::value_to<std::vector<TokenId>>(array);
}

TokenId ArgMax(const std::vector<float>& row) {
  return static_cast<TokenId>(std::max_element(row.begin(), row.end()) - row.begin());
}

// The largest difference in a row as a part of the row's largest magnitude.
double RowError(const std::vector<float>& row, const float* golden) {
  double difference = 0, magnitude = 0;
  for (size_t i = 0; i < row.size(); ++i) {
    difference = std::max(difference, std::abs(static_cast<double>(row[i]) - golden[i]));
    magnitude = std::max(magnitude, std::abs(static_cast<double>(golden[i])));
  }
  return std::isnan(difference) ? INFINITY : difference / magnitude;
}

std::vector<std::string> IsaNames() {
  std::vector<std::string> names = {"ref", "portable"};
  if (kernels::BestIsa() >= kernels::Isa::kAvx2) names.push_back("avx2");
  if (kernels::BestIsa() >= kernels::Isa::kAvx512Bf16) names.push_back("avx512bf16");
  return names;
}

class ParityTest : public testing::TestWithParam<std::string> {
 protected:
  void SetUp() override { ASSERT_TRUE(kernels::SelectIsa(GetParam())); }
  void TearDown() override { ASSERT_TRUE(kernels::SelectIsa("auto")); }

  std::unique_ptr<model::Model> Load(const std::string& name, const std::string& dtype) {
    auto model = model::Model::Load(kOracle + name, {.dtype = dtype}, stream_);
    EXPECT_TRUE(model) << (model ? "" : model.error().message);
    return model ? std::move(*model) : nullptr;
  }

  std::shared_ptr<const adapters::AdapterImage> LoadAdapter(const model::Model& model,
                                                            const std::string& dir) {
    auto adapter = formats::OpenPeftAdapter(dir, model.config());
    EXPECT_TRUE(adapter) << (adapter ? "" : adapter.error().message);
    if (!adapter) return nullptr;
    auto image = adapters::MakeAdapterImage(*adapter, model.spec(), model.checkpoint());
    EXPECT_TRUE(image) << (image ? "" : image.error().message);
    return image ? *image : nullptr;
  }

  // The adapters of a case: none, one, or the parts of a weighted sum.
  std::vector<WeightedAdapter> LoadAdapters(const model::Model& model,
                                            const std::string& model_name,
                                            const json::object& test) {
    std::vector<std::pair<std::string, float>> dirs;
    if (test.at("adapter").is_string()) dirs.emplace_back(test.at("adapter").as_string(), 1.0f);
    if (const json::value* parts = test.if_contains("parts")) {
      for (const json::value& part : parts->as_array()) {
        dirs.emplace_back(part.at(0).as_string(), part.at(1).to_number<float>());
      }
    }
    images_.clear();
    std::vector<WeightedAdapter> adapters;
    for (const auto& [dir, weight] : dirs) {
      images_.push_back(LoadAdapter(model, kOracle + model_name + "/" + dir));
      if (images_.back() == nullptr) return {};
      adapters.push_back({&*images_.back()->weights, weight});
    }
    return adapters;
  }

  // Worst row of a case over its prompts, and (f32) the greedy tokens.
  double CaseError(model::Model& model, std::span<const WeightedAdapter> adapters,
                   const json::object& entry, const json::object& test,
                   const formats::SafetensorsFile& goldens, bool check_greedy) {
    ModelRunner runner(model, stream_);
    double worst = 0;
    const json::value* own_prompts = test.if_contains("prompts");  // with the adapter's own tokens
    const json::array& prompts =
        (own_prompts != nullptr ? *own_prompts : entry.at("prompts")).as_array();
    for (size_t p = 0; p < prompts.size(); ++p) {
      runner.Reset();
      const std::string key = std::string(test.at("name").as_string()) + "/" + std::to_string(p);
      const formats::TensorView* golden = goldens.Find(key);
      EXPECT_NE(golden, nullptr) << key;
      if (golden == nullptr) return INFINITY;
      std::vector<float> expected(golden->num_elements());
      formats::ConvertToF32(*golden, expected);
      const auto rows = runner.Append(Tokens(prompts[p]), adapters);
      EXPECT_EQ(rows.size() * rows[0].size(), expected.size()) << key;
      if (rows.size() * rows[0].size() != expected.size()) return INFINITY;
      for (size_t row = 0; row < rows.size(); ++row) {
        worst = std::max(worst, RowError(rows[row], expected.data() + row * rows[row].size()));
      }
      if (!check_greedy) continue;
      std::vector<TokenId> greedy = {ArgMax(rows.back())};
      while (greedy.size() < 16) {
        const TokenId last = greedy.back();
        greedy.push_back(ArgMax(runner.Append({&last, 1}, adapters).front()));
      }
      EXPECT_EQ(greedy, Tokens(test.at("greedy").as_array()[p])) << key;
    }
    return worst;
  }

  Stream stream_{2};
  std::vector<std::shared_ptr<const adapters::AdapterImage>> images_;  // of the case at hand
};

TEST_P(ParityTest, Float32) {
  constexpr double kBound = 1e-4;
  const json::object manifest = ReadJson(kOracle + "goldens.json");
  int num_cases = 0;
  for (const json::value& value : manifest.at("models").as_array()) {
    const json::object& entry = value.as_object();
    const std::string name(entry.at("name").as_string());
    const auto model = Load(name, "float32");
    ASSERT_NE(model, nullptr) << name;
    const auto goldens = formats::SafetensorsFile::Read(kOracle + name + "/goldens.safetensors");
    ASSERT_TRUE(goldens);
    for (const json::value& case_value : entry.at("cases").as_array()) {
      const json::object& test = case_value.as_object();
      SCOPED_TRACE(name + " " + std::string(test.at("name").as_string()));
      const auto adapters = LoadAdapters(*model, name, test);
      ASSERT_EQ(adapters.empty(), test.at("name") == "base");
      if (test.at("adapter").is_string()) {
        EXPECT_EQ(images_[0]->num_modules, test.at("modules").as_int64());
      }
      EXPECT_LE(CaseError(*model, adapters, entry, test, *goldens, true), kBound);
      ++num_cases;
    }
  }
  EXPECT_GE(num_cases, 90);
}

TEST_P(ParityTest, BFloat16) {
  const json::object manifest = ReadJson(kOracle + "goldens.json");
  for (const json::value& value : manifest.at("models").as_array()) {
    const json::object& entry = value.as_object();
    const std::string name(entry.at("name").as_string());
    double transformers_error = 0;
    for (const json::value& test : entry.at("cases").as_array()) {
      if (const auto* error = test.as_object().if_contains("bf16_error")) {
        transformers_error = std::max(transformers_error, error->to_number<double>());
      }
    }
    if (transformers_error == 0) continue;
    const auto model = Load(name, "bfloat16");
    ASSERT_NE(model, nullptr) << name;
    const auto goldens = formats::SafetensorsFile::Read(kOracle + name + "/goldens.safetensors");
    ASSERT_TRUE(goldens);
    double worst = 0;
    for (const json::value& case_value : entry.at("cases").as_array()) {
      const json::object& test = case_value.as_object();
      const auto adapters = LoadAdapters(*model, name, test);
      ASSERT_EQ(adapters.empty(), test.at("name") == "base");
      const double error = CaseError(*model, adapters, entry, test, *goldens, false);
      EXPECT_LE(error, 2 * transformers_error) << name << " " << test.at("name");
      worst = std::max(worst, error);
    }
    RecordProperty(name, std::to_string(worst));
    std::printf("%s %s: worst row %.4f of the largest logit, transformers' own bf16 %.4f\n",
                GetParam().c_str(), name.c_str(), worst, transformers_error);
  }
}

// The model reads nothing beyond the tables of an adapter with fewer tokens than the base, whoever
// let the token in.
TEST_P(ParityTest, TokensBeyondASmallerVocabularyAreTheBases) {
  const auto model = Load("qwen2-forms", "float32");
  ASSERT_NE(model, nullptr);
  const auto image = LoadAdapter(*model, kOracle + "qwen2-forms/adapters/fewer-tokens");
  ASSERT_NE(image, nullptr);
  ASSERT_EQ(image->weights->vocab_size(), 60);
  ModelRunner runner(*model, stream_);
  const std::vector<TokenId> tokens = {1, 65, 69, 59, 60};
  const auto rows = runner.Append(tokens, &*image->weights);
  for (const auto& row : rows) {
    ASSERT_EQ(row.size(), 60u);
    for (float logit : row) EXPECT_TRUE(std::isfinite(logit));
  }
}

// A trained model tells its known story: 200 greedy tokens in f32.
TEST_P(ParityTest, StoriesGreedy) {
  const std::string dir = SourcePath("tests/data/stories260K");
  const json::object expected = ReadJson(dir + "/expected_greedy.json");
  auto model = model::Model::Load(dir, {.dtype = "float32"}, stream_);
  ASSERT_TRUE(model) << model.error().message;
  ModelRunner runner(**model, stream_);
  std::vector<TokenId> story = Tokens(expected.at("ids"));
  ASSERT_GT(story.size(), 100u);
  const std::vector<TokenId> prompt = Tokens(expected.at("prompt_ids"));
  story.resize(std::min(story.size(), ModelRunner::kMaxTokens - prompt.size()));
  TokenId next = ArgMax(runner.Append(prompt, nullptr).back());
  for (size_t i = 0; i < story.size(); ++i) {
    ASSERT_EQ(next, story[i]) << "token " << i;
    next = ArgMax(runner.Append({&next, 1}, nullptr).front());
  }
}

INSTANTIATE_TEST_SUITE_P(Isas, ParityTest, testing::ValuesIn(IsaNames()),
                         [](const auto& info) { return info.param; });

}  // namespace
}  // namespace lorry
