#include "merge/plan.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>

#include "formats/test_files.h"
#include "merge/card.h"
#include "merge/merge.h"

namespace lorry::merge {
namespace {

namespace fs = std::filesystem;
using formats::OraclePath;
using formats::TempDir;
using testing::ElementsAre;
using testing::HasSubstr;

std::string Adapter(const std::string& name) {
  return OraclePath("llama-default/adapters/" + name);
}

MergeOptions Options(const std::vector<WeightedAdapter>& adapters, Method method = Method::kCat) {
  return {.base_dir = OraclePath("llama-default"),
          .adapters = adapters,
          .combination = {.method = method, .density = 0.5},
          .output_dir = "/nowhere",
          .program = "lorry test"};
}

std::string ErrorOf(const MergeOptions& options) {
  const auto plan = MergePlan::Open(options);
  EXPECT_FALSE(plan);
  return plan ? "" : plan.error().message;
}

TEST(MergePlanTest, ModulesAreThoseThatAnyAdapterHas) {
  const auto plan =
      MergePlan::Open(Options({{Adapter("q-only-r1")}, {Adapter("layers-one"), 0.5}}));
  ASSERT_TRUE(plan) << plan.error().message;
  // q of three layers, and v and o of layer 1.
  EXPECT_EQ(plan->modules().size(), 5u);
  EXPECT_EQ(plan->modules().at("model.layers.1.self_attn.v_proj").terms.front().weight, 0.5);
  EXPECT_EQ(plan->combination().svd_rank, 8);
}

TEST(MergePlanTest, RanksMustBeEqualOnlyWhereModulesMeet) {
  // full-r8 has every module, q-only-r1 q alone with rank 1.
  EXPECT_THAT(ErrorOf(Options({{Adapter("full-r8")}, {Adapter("q-only-r1")}}, Method::kLinear)),
              HasSubstr("cat and svd take any"));
  EXPECT_TRUE(
      MergePlan::Open(Options({{Adapter("full-r8")}, {Adapter("q-only-r1")}}, Method::kSvd)));
  EXPECT_TRUE(
      MergePlan::Open(Options({{Adapter("q-only-r1")}, {Adapter("layers-one")}}, Method::kTies)));
}

TEST(MergePlanTest, OneAdapterIsLinear) {
  const auto plan = MergePlan::Open(Options({{Adapter("mixed-ranks")}}, Method::kDareTies));
  ASSERT_TRUE(plan);
  EXPECT_EQ(plan->combination().method, Method::kLinear);
}

TEST(MergePlanTest, BadOptionsAreRefused) {
  EXPECT_THAT(ErrorOf(Options({})), HasSubstr("which adapters?"));
  EXPECT_THAT(ErrorOf(Options({{Adapter("full-r8"), NAN}})), HasSubstr("weight nan"));
  EXPECT_THAT(ErrorOf(Options({{"/no/such/adapter"}})), HasSubstr("/no/such/adapter"));
  MergeOptions options = Options({{Adapter("full-r8")}});
  options.combination.density = 0;
  EXPECT_THAT(ErrorOf(options), HasSubstr("density 0"));
}

TEST(MergePlanTest, AnAdapterOfAnotherBaseIsRefusedWithItsList) {
  MergeOptions options = Options({{OraclePath("qwen2/adapters/full-r8")}});
  EXPECT_THAT(ErrorOf(options), HasSubstr("does not fit the base model"));
}

TEST(MergePlanTest, WhatIsMoreThanLoraIsMergedAlone) {
  const std::string dora = OraclePath("llama-forms/adapters/dora");
  MergeOptions options = Options({{dora}});
  options.base_dir = OraclePath("llama-forms");
  EXPECT_TRUE(MergePlan::Open(options));
  options.adapters[0].weight = 0.5;
  EXPECT_THAT(ErrorOf(options), HasSubstr("can be merged alone, with weight 1"));
  options.adapters = {{dora}, {dora}};
  EXPECT_THAT(ErrorOf(options), HasSubstr("can be merged alone, with weight 1"));
  options.adapters = {{dora}};
  options.as_adapter = true;
  EXPECT_THAT(ErrorOf(options), HasSubstr("can be merged alone, with weight 1"));
  options.as_adapter = false;
  for (const char* other : {"added-saved", "fewer-tokens", "dora-embeddings"}) {
    options.adapters = {{OraclePath(std::string("llama-forms/adapters/") + other)}};
    EXPECT_THAT(ErrorOf(options), HasSubstr("not merged")) << other;
  }
}

TEST(MergePlanTest, ATiedHeadIsUntiedWhenOneSideChanges) {
  MergeOptions options = Options({{OraclePath("llama-forms-tied/adapters/embeddings")}});
  options.base_dir = OraclePath("llama-forms-tied");
  const auto plan = MergePlan::Open(options);
  ASSERT_TRUE(plan) << plan.error().message;
  EXPECT_TRUE(plan->unties_head());
  const auto output = DescribeOutput(*plan);
  ASSERT_TRUE(output);
  EXPECT_EQ(output->tensors.size(), plan->base()->num_tensors() + 1);

  options.base_dir = OraclePath("llama-llama3-rope");  // tied, too
  options.adapters = {{OraclePath("llama-llama3-rope/adapters/full-r8")}};
  const auto plain = MergePlan::Open(options);
  ASSERT_TRUE(plain) << plain.error().message;
  EXPECT_FALSE(plain->unties_head());
}

// A tensor that formats/ lets pass and merging does not apply must not get lost.
TEST(MergePlanTest, EveryTensorIsAppliedOrTheAdapterRefused) {
  for (const auto& entry : fs::directory_iterator(OraclePath("llama-default/adapters"))) {
    const std::string dir = entry.path().string();
    const auto plan = MergePlan::Open(Options({{dir}}));
    if (!plan) continue;
    size_t num_tensors = 2 * plan->modules().size();
    EXPECT_EQ(plan->adapters().front().weights.tensors().size(), num_tensors) << dir;
  }
}

TEST(MergePlanTest, ACombinationBeyondTheRankLimitIsRefused) {
  MergeOptions options = Options(std::vector<WeightedAdapter>(9, {Adapter("r64")}));
  options.as_adapter = true;
  const auto plan = MergePlan::Open(options);
  ASSERT_TRUE(plan);
  const auto output = DescribeOutput(*plan);
  ASSERT_FALSE(output);
  EXPECT_THAT(output.error().message, HasSubstr("rank 576, adapters may have 512"));
}

TEST(MergePlanTest, TheOutputIsDescribedBeforeItIsWritten) {
  MergeOptions options = Options({{Adapter("full-r8")}});
  options.max_shard_bytes = 200'000;
  options.dtype = DType::kBF16;
  const auto plan = MergePlan::Open(options);
  ASSERT_TRUE(plan);
  const auto output = DescribeOutput(*plan);
  ASSERT_TRUE(output) << output.error().message;
  EXPECT_EQ(output->weight_bytes, plan->base()->total_bytes() / 2);
  EXPECT_GT(output->num_files, 1u);
  EXPECT_THAT(output->copied_files, ElementsAre("generation_config.json"));
}

TEST(CardTest, SaysWhatWasMergedAndHow) {
  MergeOptions options =
      Options({{Adapter("exclude-names")}, {Adapter("exclude-regex/"), -0.5}}, Method::kDareTies);
  options.combination.seed = 11;
  const auto plan = MergePlan::Open(options);
  ASSERT_TRUE(plan) << plan.error().message;
  const std::string card = CardText(*plan);
  EXPECT_THAT(card, HasSubstr("base_model: \"llama-default\"\nbase_model_relation: merge\n"));
  EXPECT_THAT(card, HasSubstr("| exclude-names | 1 | "));
  EXPECT_THAT(card, HasSubstr("| exclude-regex | -0.5 | "));
  EXPECT_THAT(card, HasSubstr("`dare_ties`, density 0.5, majority sign by total, seed 11."));
  EXPECT_THAT(card, HasSubstr(plan->adapters()[1].id().Hex()));
}

}  // namespace
}  // namespace lorry::merge
