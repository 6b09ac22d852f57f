#include "formats/peft_match.h"

#include <gmock/gmock.h>

#include <boost/json/serialize.hpp>
#include <cmath>
#include <map>

#include "formats/json.h"
#include "formats/test_files.h"

namespace lorry::formats {
namespace {

using ::testing::HasSubstr;
using ::testing::Pointwise;

HfConfig Base(std::string_view family, int64_t num_layers) {
  HfConfig config;
  config.family = family == "llama" ? ModelFamily::kLlama : ModelFamily::kQwen2;
  config.num_layers = num_layers;
  config.hidden_size = 64;
  config.intermediate_size = 128;
  config.num_heads = 4;
  config.num_kv_heads = 2;
  config.head_dim = 16;
  return config;
}

Result<std::vector<TargetedModule>> Match(boost::json::object fields, const HfConfig& base) {
  fields["peft_type"] = "LORA";
  ASSIGN_OR_RETURN(const PeftLoraConfig config, ParsePeftLoraConfig(fields, "a.json"));
  return MatchPeftModules(config, base.family, ListBaseModules(base));
}

boost::json::object Oracle() { return ReadJsonObject(OraclePath("peft_matching.json")).value(); }

TEST(PeftMatchTest, ModulesAreNamedAsInTorch) {
  const boost::json::object oracle = Oracle();
  for (const boost::json::value& entry : oracle.at("names").as_array()) {
    const auto base = Base(entry.at("family").as_string(), entry.at("num_layers").as_int64());
    std::vector<std::string> names;
    for (const BaseModule& module : ListBaseModules(base)) names.push_back(module.name);
    EXPECT_EQ(names, FromJson<std::vector<std::string>>(entry.at("names")).value());
  }
}

// Module index -> rank and scaling.
using Matches = std::map<int64_t, std::pair<int64_t, double>>;

Matches WhatPeftDid(const boost::json::object& modules) {
  Matches matches;
  for (const auto& entry : modules) {
    const boost::json::array& numbers = entry.value().as_array();
    matches[std::stoll(std::string(entry.key()))] = {FromJson<int64_t>(numbers[0]).value(),
                                                     FromJson<double>(numbers[1]).value()};
  }
  return matches;
}

// Boost.JSON 1.81 reads a fraction to within one unit in the last place: the scalings may differ by
// that.
MATCHER(SameMatch, "") {
  const auto& [ours, peft] = arg;
  return ours.first == peft.first && ours.second.first == peft.second.first &&
         std::abs(ours.second.second - peft.second.second) <= 1e-15 * peft.second.second;
}

TEST(PeftMatchTest, SaysWhatPeftSays) {
  const boost::json::object oracle = Oracle();
  size_t num_matched = 0, num_refused_by_both = 0, num_refused_by_us = 0;
  for (const boost::json::value& entry : oracle.at("cases").as_array()) {
    const HfConfig base = Base(entry.at("family").as_string(), entry.at("num_layers").as_int64());
    const std::vector<BaseModule> modules = ListBaseModules(base);
    const auto matched = Match(entry.at("config").as_object(), base);
    const std::string what = boost::json::serialize(entry.at("config"));
    const boost::json::value* expected = entry.as_object().if_contains("modules");
    if (expected == nullptr) {
      EXPECT_FALSE(matched.has_value()) << what;
      ++num_refused_by_both;
      continue;
    }
    const Matches peft = WhatPeftDid(expected->as_object());
    if (!matched) {  // only for what PEFT adapts and Lorry does not
      EXPECT_THAT(matched.error().message, HasSubstr("embeddings and of the output head")) << what;
      ++num_refused_by_us;
      continue;
    }
    Matches ours;
    for (const TargetedModule& target : *matched) {
      ours[static_cast<int64_t>(target.module_idx)] = {target.rank, target.scaling};
    }
    EXPECT_THAT(ours, Pointwise(SameMatch(), peft)) << what;
    ++num_matched;
  }
  EXPECT_GT(num_matched, 200u);
  EXPECT_GT(num_refused_by_both, 30u);
  EXPECT_LT(num_refused_by_us, 10u);
}

TEST(PeftMatchTest, SaysWhatIsWrong) {
  const HfConfig base = Base("llama", 2);
  const auto error = [&](std::string_view fields) {
    return Match(ParseJsonObject(fields, "a.json").value(), base).error().message;
  };
  EXPECT_THAT(error(R"({"target_modules": ["nothing"]})"), HasSubstr("selects no module"));
  EXPECT_THAT(error(R"({"target_modules": ["lm_head"]})"), HasSubstr("\"lm_head\""));
  EXPECT_THAT(error(R"({"target_modules": "model"})"), HasSubstr("no linear layer"));
  EXPECT_THAT(error(R"x({"target_modules": "(?=a)"})x"), HasSubstr("regular expression"));
  EXPECT_THAT(error(R"x({"target_modules": ["q_proj"], "rank_pattern": {"(?<!a)": 3}})x"),
              HasSubstr("regular expression"));
}

TEST(PeftMatchTest, ShapesOfTheProjections) {
  HfConfig base = Base("llama", 1);
  base.head_dim = 24;  // explicit: q is wider than the hidden size
  std::map<std::string, std::pair<int64_t, int64_t>> shapes;
  for (const BaseModule& module : ListBaseModules(base)) {
    if (module.kind != ModuleKind::kProjection) continue;
    shapes[std::string(ProjectionName(module.projection))] = {module.in_features,
                                                              module.out_features};
  }
  EXPECT_EQ(shapes, (std::map<std::string, std::pair<int64_t, int64_t>>{{"q_proj", {64, 96}},
                                                                        {"k_proj", {64, 48}},
                                                                        {"v_proj", {64, 48}},
                                                                        {"o_proj", {96, 64}},
                                                                        {"gate_proj", {64, 128}},
                                                                        {"up_proj", {64, 128}},
                                                                        {"down_proj", {128, 64}}}));
}

}  // namespace
}  // namespace lorry::formats
