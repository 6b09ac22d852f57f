// Every adapter form, and weighted sums of adapters, in one step with all the others: the logits
// are bitwise those of the sequence alone, whatever the chunking of its prompt. On the model
// itself, without engine or scheduler.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <map>
#include <numeric>
#include <random>

#include "adapters/adapter_image.h"
#include "bench/make_model.h"
#include "formats/peft_adapter.h"
#include "invariance/form_adapters.h"
#include "kernels/isa.h"
#include "model/model.h"

namespace lorry {
namespace {

namespace fs = std::filesystem;

constexpr int kPages = 4;  // of a sequence
constexpr int kPromptTokens = 41, kAllTokens = 47;

struct Part {
  std::string adapter;
  float weight;
};

// A sequence on the base, one adapter or a weighted sum of adapters.
struct Case {
  std::vector<Part> parts;
  std::vector<TokenId> tokens;
  std::vector<int32_t> pages;
  int done = 0;  // tokens in the cache
};

class FormsInvarianceTest : public testing::TestWithParam<std::tuple<std::string, std::string>> {
 protected:
  static void SetUpTestSuite() {
    root_ = fs::temp_directory_path() / ("lorry_forms_" + std::to_string(getpid()));
    ASSERT_TRUE(bench::MakeModel({.shape = "invariance",
                                  .num_adapters = 2,
                                  .rank = 8,
                                  .output_dir = root_ / "model",
                                  .seed = 5}));
    const auto base = formats::ReadHfConfig(root_ / "model" / "base");
    ASSERT_TRUE(base) << base.error().message;
    ASSERT_TRUE(FormAdapterWriter(root_ / "forms", *base).WriteAll());
  }
  static void TearDownTestSuite() { fs::remove_all(root_); }

  void SetUp() override {
    const auto& [isa, dtype] = GetParam();
    ASSERT_TRUE(kernels::SelectIsa(isa));
    auto model = model::Model::Load(root_ / "model" / "base",
                                    {.dtype = dtype, .max_step_rows = 1024, .max_logit_rows = 1024},
                                    stream_);
    ASSERT_TRUE(model) << model.error().message;
    model_ = std::move(*model);
    for (const auto& entry : fs::recursive_directory_iterator(root_)) {
      if (entry.path().filename() != "adapter_config.json") continue;
      const fs::path dir = entry.path().parent_path();
      auto adapter = formats::OpenPeftAdapter(dir, model_->config());
      ASSERT_TRUE(adapter) << adapter.error().message;
      auto image = adapters::MakeAdapterImage(*adapter, model_->spec(), model_->checkpoint());
      ASSERT_TRUE(image) << image.error().message;
      images_[dir.filename()] = *image;
    }
    MakeCases();
  }
  void TearDown() override { ASSERT_TRUE(kernels::SelectIsa("auto")); }

  void MakeCases() {
    std::vector<std::vector<Part>> all = {{}};
    std::vector<std::string> plain;
    for (const auto& [name, image] : images_) {
      all.push_back({{name, 1}});
      if (image->weights->WhyNotComposable() == nullptr) plain.push_back(name);
    }
    ASSERT_EQ(plain.size(), 3u) << "two of LoRA alone, one on embedding and head";
    all.push_back({{plain[0], 1}, {plain[1], 0.5f}, {plain[2], -0.25f}});
    all.push_back({{plain[2], 0.7f}, {plain[0], 1}});
    all.push_back({{plain[1], 0.5f}, {plain[1], 0.5f}});
    all.push_back({{plain[1], 2}});
    std::mt19937 random(3);
    int32_t page = 0;
    for (const auto& parts : all) {
      Case test{.parts = parts};
      for (int i = 0; i < kAllTokens; ++i) test.tokens.push_back(static_cast<int>(random() % 1024));
      for (int i = 0; i < kPages; ++i) test.pages.push_back(page++);
      cases_.push_back(std::move(test));
    }
    layout_ = model_->spec().Kv(16);
    kv_ = *Buffer::Allocate(page * layout_.PageBytes());
  }

  int VocabSize(const Case& test) const {
    const int own =
        test.parts.empty() ? 0 : images_.at(test.parts[0].adapter)->weights->vocab_size();
    return own != 0 ? own : model_->spec().vocab_size;
  }

  // One step: the next rows of some cases. Their logits are appended, or compared.
  struct Next {
    int case_idx;
    int num_rows;
  };
  using Rows = std::vector<std::vector<float>>;  // by position

  void Step(const std::vector<Next>& step, const std::function<void(int, int, const float*)>& row) {
    std::vector<TokenId> tokens;
    std::vector<kernels::SequenceRows> sequences;
    std::vector<model::AdapterSegment> segments;
    for (const auto& [case_idx, num_rows] : step) {
      const Case& test = cases_[case_idx];
      const int begin = static_cast<int>(tokens.size());
      tokens.insert(tokens.end(), test.tokens.begin() + test.done,
                    test.tokens.begin() + test.done + num_rows);
      sequences.push_back({begin, num_rows, test.done, test.pages.data()});
      for (const Part& part : test.parts) {
        segments.push_back(
            {begin, begin + num_rows, &*images_.at(part.adapter)->weights, part.weight});
      }
    }
    std::vector<int32_t> logit_rows(tokens.size());
    std::iota(logit_rows.begin(), logit_rows.end(), 0);
    const float* logits = model_->Forward(stream_, {.tokens = tokens,
                                                    .sequences = sequences,
                                                    .segments = segments,
                                                    .logit_rows = logit_rows,
                                                    .kv = {kv_.data(), layout_}});
    for (const auto& [case_idx, num_rows] : step) {
      for (int i = 0; i < num_rows; ++i, logits += model_->logits_stride()) {
        row(case_idx, cases_[case_idx].done++, logits);
      }
    }
  }

  static inline fs::path root_;
  Stream stream_{2};
  std::unique_ptr<model::Model> model_;
  std::map<std::string, std::shared_ptr<const adapters::AdapterImage>> images_;
  std::vector<Case> cases_;
  kernels::KvLayout layout_;
  Buffer kv_;
};

TEST_P(FormsInvarianceTest, InOneStepAsAlone) {
  std::vector<Rows> alone(cases_.size());
  for (int i = 0; i < static_cast<int>(cases_.size()); ++i) {
    const auto keep = [&](int case_idx, int, const float* logits) {
      alone[case_idx].emplace_back(logits, logits + VocabSize(cases_[case_idx]));
    };
    Step({{i, kPromptTokens}}, keep);
    while (cases_[i].done < kAllTokens) Step({{i, 1}}, keep);
    for (float logit : alone[i].back()) ASSERT_TRUE(std::isfinite(logit));
  }
  // No adapter does nothing.
  for (size_t i = 1; i < cases_.size(); ++i) {
    EXPECT_NE(alone[i].back()[5], alone[0].back()[5]) << "case " << i;
  }

  std::mt19937 random(9);
  for (int round = 0; round < 3; ++round) {
    for (Case& test : cases_) test.done = 0;
    size_t compared = 0;
    while (true) {
      // Chunks of any size, single rows towards the end, some cases left out.
      std::vector<Next> step;
      for (int i = 0; i < static_cast<int>(cases_.size()); ++i) {
        const int left = kAllTokens - cases_[i].done;
        if (left == 0 || random() % 5 == 0) continue;
        const int most = round == 0 ? left : round == 1 ? 7 : 1 + static_cast<int>(random() % 3);
        step.push_back({i, std::min(left, most)});
      }
      std::shuffle(step.begin(), step.end(), random);
      if (step.empty()) {
        const bool finished = std::all_of(cases_.begin(), cases_.end(),
                                          [](const Case& test) { return test.done == kAllTokens; });
        if (finished) break;
        continue;
      }
      Step(step, [&](int case_idx, int position, const float* logits) {
        const std::vector<float>& expected = alone[case_idx][position];
        ASSERT_EQ(std::memcmp(expected.data(), logits, expected.size() * sizeof(float)), 0)
            << "case " << case_idx << " position " << position << " round " << round;
        ++compared;
      });
      if (HasFatalFailure()) return;
    }
    EXPECT_EQ(compared, cases_.size() * kAllTokens);
  }
}

std::vector<std::string> IsaNames() {
  std::vector<std::string> names = {"portable"};
  if (kernels::BestIsa() >= kernels::Isa::kAvx2) names.push_back("avx2");
  if (kernels::BestIsa() >= kernels::Isa::kAvx512Bf16) names.push_back("avx512bf16");
  return names;
}

INSTANTIATE_TEST_SUITE_P(Isas, FormsInvarianceTest,
                         testing::Combine(testing::ValuesIn(IsaNames()),
                                          testing::Values("bfloat16", "float32")),
                         [](const auto& info) {
                           return std::get<0>(info.param) + "_" + std::get<1>(info.param);
                         });

}  // namespace
}  // namespace lorry
