// Weighted sums through the engine: what a request gets is PEFT's add_weighted_adapter with `cat`,
// whatever the order of the terms, to the last bit.
#include <gtest/gtest.h>
#include <prometheus/registry.h>

#include <boost/json.hpp>
#include <fstream>
#include <sstream>

#include "adapters/adapter_image.h"
#include "base/testing/source_dir.h"
#include "engine/collector.h"
#include "engine/engine.h"
#include "engine/model_step.h"
#include "formats/safetensors.h"
#include "model/model.h"

namespace lorry {
namespace {

namespace json = boost::json;

const std::string kOracle = SourcePath("tests/data/oracle/");

class SumParityTest : public ::testing::Test {
 protected:
  void Start(const std::string& model_name) {
    engine_.reset();
    images_.clear();
    model_dir_ = kOracle + model_name;
    auto model = model::Model::Load(
        model_dir_, {.dtype = "float32", .max_step_rows = 64, .max_logit_rows = 64}, Stream(2));
    ASSERT_TRUE(model) << model.error().message;
    model_ = model->get();
    registry_ = std::make_unique<prometheus::Registry>();
    auto engine = engine::Engine::Create({.model_name = "base",
                                          .num_threads = 2,
                                          .max_num_seqs = 16,
                                          .max_num_batched_tokens = 64,
                                          .pool_bytes = size_t{16} << 20},
                                         engine::MakeStepModel(std::move(*model)), registry_.get());
    ASSERT_TRUE(engine) << engine.error().message;
    engine_ = std::move(*engine);
  }

  std::shared_ptr<const adapters::AdapterImage> Image(const std::string& dir) {
    auto& image = images_[dir];
    if (image != nullptr) return image;
    const auto adapter = formats::OpenPeftAdapter(model_dir_ + "/" + dir, model_->config());
    EXPECT_TRUE(adapter);
    return image = *adapters::MakeAdapterImage(*adapter, model_->spec(), model_->checkpoint());
  }

  std::shared_ptr<engine::Collector> Submit(std::vector<AdapterTerm> terms,
                                            const json::value& prompt) {
    GenerateRequest request;
    request.id = RequestId{++last_id_};
    request.adapters = std::move(terms);
    request.prompt = json::value_to<std::vector<TokenId>>(prompt);
    request.sampling.temperature = 0;
    request.sampling.max_tokens = 16;
    request.sampling.ignore_eos = true;
    request.sampling.num_logprobs = 2;
    request.sampling.prompt_logprobs = true;
    auto sink = std::make_shared<engine::Collector>();
    EXPECT_TRUE(engine_->Submit(std::move(request), sink));
    return sink;
  }

  std::string model_dir_;
  std::unique_ptr<prometheus::Registry> registry_;
  std::unique_ptr<engine::Engine> engine_;
  const model::Model* model_ = nullptr;  // the engine's
  std::map<std::string, std::shared_ptr<const adapters::AdapterImage>> images_;
  uint64_t last_id_ = 0;
};

void ExpectSameBits(const engine::Answer& a, const engine::Answer& b) {
  EXPECT_EQ(a.tokens, b.tokens);
  EXPECT_EQ(a.logprobs, b.logprobs);
  ASSERT_EQ(a.prompt_logprobs.size(), b.prompt_logprobs.size());
  for (size_t i = 0; i < a.prompt_logprobs.size(); ++i) {
    EXPECT_EQ(a.prompt_logprobs[i].logprob, b.prompt_logprobs[i].logprob) << i;
  }
}

// Log-probabilities of the prompt's own tokens, from the golden logits [tokens, vocabulary].
void ExpectLogprobs(const engine::Answer& answer, const std::vector<TokenId>& prompt,
                    const formats::TensorView& golden) {
  std::vector<float> logits(golden.num_elements());
  formats::ConvertToF32(golden, logits);
  const size_t vocab = logits.size() / prompt.size();
  ASSERT_EQ(answer.prompt_logprobs.size(), prompt.size());
  for (size_t i = 0; i + 1 < prompt.size(); ++i) {
    const float* row = logits.data() + i * vocab;
    double sum = 0;
    for (size_t k = 0; k < vocab; ++k) sum += std::exp(static_cast<double>(row[k]));
    const double expected = row[prompt[i + 1]] - std::log(sum);
    EXPECT_NEAR(answer.prompt_logprobs[i + 1].logprob, expected, 1e-4 * std::abs(expected) + 1e-4);
  }
}

TEST_F(SumParityTest, RequestsGetPeftsSums) {
  std::ifstream file(kOracle + "goldens.json");
  std::stringstream text;
  text << file.rdbuf();
  const json::value manifest = json::parse(text.str());
  int num_sums = 0;
  for (const json::value& entry : manifest.at("models").as_array()) {
    const std::string name(entry.at("name").as_string());
    if (!name.ends_with("-forms")) continue;
    ASSERT_NO_FATAL_FAILURE(Start(name));
    const auto goldens = formats::SafetensorsFile::Read(kOracle + name + "/goldens.safetensors");
    ASSERT_TRUE(goldens);
    const json::array& prompts = entry.at("prompts").as_array();
    for (const json::value& test : entry.at("cases").as_array()) {
      const json::value* parts = test.as_object().if_contains("parts");
      if (parts == nullptr) continue;
      SCOPED_TRACE(name + " " + std::string(test.at("name").as_string()));
      std::vector<AdapterTerm> terms;
      for (const json::value& part : parts->as_array()) {
        const std::string dir(part.at(0).as_string());
        terms.push_back({dir, part.at(1).to_number<float>(), Image(dir)});
      }
      const std::vector<AdapterTerm> reversed(terms.rbegin(), terms.rend());
      for (size_t p = 0; p < prompts.size(); ++p) {
        const engine::Answer alone = Submit(terms, prompts[p])->Get();
        // With others in the batch, its own terms alone among them.
        std::vector<std::shared_ptr<engine::Collector>> others;
        for (const AdapterTerm& term : terms) others.push_back(Submit({term}, prompts[p]));
        others.push_back(Submit({}, prompts[p]));
        const auto again = Submit(reversed, prompts[p]);
        ExpectSameBits(alone, again->Get());
        for (const auto& other : others) other->Get();

        EXPECT_EQ(alone.tokens,
                  json::value_to<std::vector<TokenId>>(test.at("greedy").as_array()[p]));
        const std::string key = std::string(test.at("name").as_string()) + "/" + std::to_string(p);
        const formats::TensorView* golden = goldens->Find(key);
        ASSERT_NE(golden, nullptr) << key;
        ExpectLogprobs(alone, json::value_to<std::vector<TokenId>>(prompts[p]), *golden);
        ++num_sums;
      }
    }
  }
  EXPECT_GE(num_sums, 12);
}

TEST_F(SumParityTest, WhatCannotBeSummedIsRefused) {
  ASSERT_NO_FATAL_FAILURE(Start("llama-forms"));
  GenerateRequest request;
  request.id = RequestId{1};
  request.prompt = {1, 2};
  request.adapters = {{"dora", 0.5f, Image("adapters/dora")}};
  const Status status = engine_->Submit(request, std::make_shared<engine::Collector>());
  ASSERT_FALSE(status);
  EXPECT_EQ(status.error().message,
            "The adapter `dora` can only be used alone and with weight 1: it uses DoRA or brings "
            "biases or whole weights.");
}

}  // namespace
}  // namespace lorry
