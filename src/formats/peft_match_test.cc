#include "formats/peft_match.h"

#include <gmock/gmock.h>

#include <boost/json/serialize.hpp>
#include <chrono>
#include <cmath>
#include <map>

#include "formats/json.h"
#include "formats/test_files.h"

namespace lorry::formats {
namespace {

using ::testing::ElementsAre;
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
  size_t num_matched = 0, num_refused_by_both = 0;
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
    ASSERT_TRUE(matched.has_value()) << what << ": " << matched.error().message;
    Matches ours;
    for (const TargetedModule& target : *matched) {
      ours[static_cast<int64_t>(target.module_idx)] = {target.rank, target.scaling};
    }
    EXPECT_THAT(ours, Pointwise(SameMatch(), peft)) << what;
    ++num_matched;
  }
  EXPECT_GT(num_matched, 200u);
  EXPECT_GT(num_refused_by_both, 30u);
}

TEST(PeftMatchTest, SaysWhatIsWrong) {
  const HfConfig base = Base("llama", 2);
  const auto error = [&](std::string_view fields) {
    return Match(ParseJsonObject(fields, "a.json").value(), base).error().message;
  };
  EXPECT_THAT(error(R"({"target_modules": ["nothing"]})"), HasSubstr("selects no module"));
  EXPECT_THAT(error(R"({"target_modules": ["norm"]})"), HasSubstr("\"model.norm\""));
  EXPECT_THAT(error(R"({"target_modules": ["embed_tokens"], "lora_bias": true})"),
              HasSubstr("lora_bias"));
  EXPECT_THAT(error(R"({"target_modules": "model"})"), HasSubstr("no linear layer"));
  EXPECT_THAT(error(R"x({"target_modules": "(?<=a|bc)q_proj"})x"), HasSubstr("regular expression"));
  EXPECT_THAT(error(R"x({"target_modules": ["q_proj"], "rank_pattern": {"(?<!a*)": 3}})x"),
              HasSubstr("regular expression"));
}

// One expression is too much for the names of a model, or many are together: every key that holds
// expressions ends as an error that names it, and soon.
TEST(PeftMatchTest, HostileExpressionsEndSoon) {
  const HfConfig base = Base("llama", 80);
  const auto start = std::chrono::steady_clock::now();
  std::string many;
  for (int i = 0; i < 2000; ++i) many += fmt::format(R"x("(([a-z.]+)+{}[!?])": 4,)x", i);
  many.back() = ' ';
  for (
      const std::string& fields : std::vector<std::string>{
          R"x("target_modules": "(\\w+\\.?)+[!?]")x",
          R"x("target_modules": ["q_proj"], "exclude_modules": "(.+)+[!?]")x",
          R"x("target_modules": ["q_proj"], "modules_to_save": ["(.+)+[!?]"])x",
          R"x("target_modules": ["q_proj"], "layers_to_transform": [1], "layers_pattern": "([a-z0-9_.]+)+[!?]")x",
          R"x("target_modules": ["q_proj"], "alpha_pattern": {"([a-z0-9.]+)+[!?]": 4})x",
          R"x("target_modules": ["q_proj"], "rank_pattern": {)x" + many + "}"}) {
    const auto matched = Match(ParseJsonObject("{" + fields + "}", "a.json").value(), base);
    ASSERT_FALSE(matched.has_value()) << fields.substr(0, 100);
    EXPECT_EQ(matched.error().code, ErrorCode::kTooLarge);
    EXPECT_THAT(matched.error().message, HasSubstr("10000000 steps")) << fields.substr(0, 100);
  }
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(20));
}

TEST(PeftMatchTest, LookAroundAndNamedGroups) {
  const HfConfig base = Base("llama", 3);
  const auto count = [&](const std::string& pattern) {
    const auto matched = Match({{"target_modules", pattern}}, base);
    EXPECT_TRUE(matched.has_value()) << matched.error().message;
    return matched ? matched->size() : 0;
  };
  EXPECT_EQ(count(R"(^(?!.*mlp).*(?:q_proj|k_proj)\Z)"), 6u);
  EXPECT_EQ(count(R"(.*(?<!gate)(?<!up)_proj)"), 15u);
  EXPECT_EQ(count(R"(model\.layers\.(?P<layer>\d)\.(?P<block>self_attn|mlp)\.\w+_proj)"), 21u);
  EXPECT_EQ(count(R"(.*\.([12])\.mlp\.(?>up|down)_proj)"), 4u);
}

// The roles of modules, by name.
struct Roles {
  std::vector<std::string> lora, saved, tokens, following;
};

Result<Roles> Plan(std::string_view fields, bool tied) {
  boost::json::object config = ParseJsonObject(fields, "a.json").value();
  config["peft_type"] = "LORA";
  ASSIGN_OR_RETURN(const PeftLoraConfig parsed, ParsePeftLoraConfig(config, "a.json"));
  const std::vector<BaseModule> modules = ListBaseModules(Base("llama", 2));
  ASSIGN_OR_RETURN(const ModulePlan plan,
                   PlanPeftModules(parsed, ModelFamily::kLlama, modules, tied));
  Roles roles;
  for (const TargetedModule& target : plan.lora) {
    roles.lora.push_back(modules[target.module_idx].name);
  }
  for (size_t i : plan.saved) roles.saved.push_back(modules[i].name);
  for (const TokenTarget& target : plan.tokens) {
    (target.follows_embedding ? roles.following : roles.tokens)
        .push_back(modules[target.module_idx].name);
  }
  return roles;
}

TEST(PeftMatchTest, SavedModulesAreNamedByTheirEndsAndKeepLoraOut) {
  const auto norms = Plan(R"({"target_modules": ["q_proj"], "modules_to_save": ["norm"]})", false);
  EXPECT_THAT(norms->saved, ElementsAre("model.layers.0.input_layernorm",
                                        "model.layers.0.post_attention_layernorm",
                                        "model.layers.1.input_layernorm",
                                        "model.layers.1.post_attention_layernorm", "model.norm"));
  const auto block =
      Plan(R"({"target_modules": ["up_proj"], "modules_to_save": ["1.mlp"]})", false);
  EXPECT_THAT(block->lora, ElementsAre("model.layers.0.mlp.up_proj"));
  EXPECT_THAT(block->saved,
              ElementsAre("model.layers.1.mlp.gate_proj", "model.layers.1.mlp.up_proj",
                          "model.layers.1.mlp.down_proj"));
  const auto alone =
      Plan(R"({"target_modules": "dummy-target-modules", "modules_to_save": ["lm_head"]})", false);
  EXPECT_THAT(alone->lora, ElementsAre());
  EXPECT_THAT(alone->saved, ElementsAre("lm_head"));
}

TEST(PeftMatchTest, TiedModulesGoTogetherWhereAsked) {
  constexpr char kLora[] = R"({"target_modules": ["embed_tokens"], "ensure_weight_tying": true})";
  EXPECT_THAT(Plan(kLora, true)->lora, ElementsAre("model.embed_tokens", "lm_head"));
  EXPECT_THAT(Plan(kLora, false)->lora, ElementsAre("model.embed_tokens"));
  constexpr char kSaved[] =
      R"({"target_modules": ["q_proj"], "modules_to_save": ["lm_head"], "ensure_weight_tying": true})";
  EXPECT_THAT(Plan(kSaved, true)->saved, ElementsAre("model.embed_tokens", "lm_head"));
  EXPECT_THAT(Plan(kSaved, false)->saved, ElementsAre("lm_head"));
  constexpr char kTokens[] = R"({"target_modules": ["q_proj"], "trainable_token_indices": [3]})";
  EXPECT_THAT(Plan(kTokens, true)->following, ElementsAre("lm_head"));
  EXPECT_THAT(Plan(kTokens, false)->following, ElementsAre());
  constexpr char kApart[] =
      R"({"target_modules": ["q_proj"], "trainable_token_indices": {"embed_tokens": [3], "lm_head": [4]}})";
  EXPECT_THAT(Plan(kApart, true)->tokens, ElementsAre("model.embed_tokens", "lm_head"));
}

TEST(PeftMatchTest, RefusesRolesThatPeftRefuses) {
  const auto error = [](std::string_view fields) { return Plan(fields, true).error().message; };
  EXPECT_THAT(error(R"({"target_modules": ["q_proj"], "modules_to_save": ["proj"]})"),
              HasSubstr("target_modules and in modules_to_save"));
  EXPECT_THAT(error(R"({"target_modules": ["embed_tokens"], "trainable_token_indices": [1]})"),
              HasSubstr("trainable_token_indices"));
  EXPECT_THAT(
      error(R"({"target_modules": ["q_proj"], "trainable_token_indices": {"up_proj": [1]}})"),
      HasSubstr("up_proj"));
  EXPECT_THAT(error(R"({"target_modules": ["q_proj"], "trainable_token_indices": {"wte": [1]}})"),
              HasSubstr("\"wte\""));
  EXPECT_THAT(error(R"({"target_modules": "dummy-target-modules", "modules_to_save": ["layers"]})"),
              HasSubstr("list of layers"));
  EXPECT_THAT(error(R"({"target_modules": ["q_proj"], "modules_to_save": [""]})"),
              HasSubstr("empty name"));
  EXPECT_THAT(error(R"({"target_modules": ["q_proj"], "ensure_weight_tying": true,
                "trainable_token_indices": {"embed_tokens": [3], "lm_head": [4]}})"),
              HasSubstr("ensure_weight_tying"));
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
