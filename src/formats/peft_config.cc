#include "formats/peft_config.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <cmath>

#include "base/ascii.h"
#include "formats/json.h"

namespace lorry::formats {
namespace {

namespace json = boost::json;

constexpr size_t kMaxEntries =
    8192;  // of any list or map; one per module of the largest models is about 900

constexpr size_t kMaxWarnings = 16;

// What a key of PEFT's LoraConfig means for applying a saved adapter.
enum class Rule {
  kRead,     // ParsePeftLoraConfig below reads it
  kIgnored,  // says where the adapter comes from or how it was trained
  kNeutral,  // changes the result and is not applied: must be null, false, "", {} or []
};

struct KeyRule {
  std::string_view key;
  Rule rule;
  std::string_view what;  // of kNeutral: what it would do
};

// All keys of PEFT 0.21. Those of kIgnored were checked in its source: none is read once the
// weights are there.
constexpr std::array kKeys = {
    KeyRule{"peft_type", Rule::kRead, ""},
    KeyRule{"task_type", Rule::kRead, ""},
    KeyRule{"r", Rule::kRead, ""},
    KeyRule{"lora_alpha", Rule::kRead, ""},
    KeyRule{"use_rslora", Rule::kRead, ""},
    KeyRule{"target_modules", Rule::kRead, ""},
    KeyRule{"exclude_modules", Rule::kRead, ""},
    KeyRule{"layers_to_transform", Rule::kRead, ""},
    KeyRule{"layers_pattern", Rule::kRead, ""},
    KeyRule{"rank_pattern", Rule::kRead, ""},
    KeyRule{"alpha_pattern", Rule::kRead, ""},
    KeyRule{"bias", Rule::kRead, ""},
    KeyRule{"use_dora", Rule::kRead, ""},
    KeyRule{"lora_bias", Rule::kRead, ""},
    KeyRule{"modules_to_save", Rule::kRead, ""},
    KeyRule{"trainable_token_indices", Rule::kRead, ""},
    KeyRule{"ensure_weight_tying", Rule::kRead, ""},
    KeyRule{"init_lora_weights", Rule::kRead, ""},
    KeyRule{"base_model_name_or_path", Rule::kRead, ""},
    KeyRule{"auto_mapping", Rule::kIgnored, ""},
    KeyRule{"peft_version", Rule::kIgnored, ""},
    KeyRule{"revision", Rule::kIgnored, ""},
    KeyRule{"inference_mode", Rule::kIgnored, ""},
    KeyRule{"lora_dropout", Rule::kIgnored, ""},       // in training only
    KeyRule{"fan_in_fan_out", Rule::kIgnored, ""},     // PEFT turns it off for linear layers
    KeyRule{"megatron_core", Rule::kIgnored, ""},      // without megatron_config it means nothing
    KeyRule{"qalora_group_size", Rule::kIgnored, ""},  // without use_qalora it means nothing
    KeyRule{"runtime_config", Rule::kIgnored, ""},     // PEFT drops it when it reads the file
    KeyRule{"loftq_config", Rule::kIgnored, ""},  // these four: settings of the initialisation,
    KeyRule{"eva_config", Rule::kIgnored, ""},    // which init_lora_weights names
    KeyRule{"corda_config", Rule::kIgnored, ""},
    KeyRule{"lora_ga_config", Rule::kIgnored, ""},
    KeyRule{"layer_replication", Rule::kNeutral, "replicated layers"},
    KeyRule{"target_parameters", Rule::kNeutral, "LoRA on bare parameters"},
    KeyRule{"megatron_config", Rule::kNeutral, "Megatron's parallel layers"},
    KeyRule{"alora_invocation_tokens", Rule::kNeutral, "activated LoRA"},
    KeyRule{"arrow_config", Rule::kNeutral, "Arrow routing"},
    KeyRule{"kasa_config", Rule::kNeutral, "KaSA, which changes the base model's weights"},
    KeyRule{"use_bdlora", Rule::kNeutral, "block-diagonal LoRA"},
    KeyRule{"use_qalora", Rule::kNeutral, "QALoRA"},
    KeyRule{"velora_config", Rule::kNeutral, "VeLoRA"},
    KeyRule{"monteclora_config", Rule::kNeutral, "MonteCLoRA"},
    // Not PEFT's: of its forerunners and forks, which compute something else with them.
    KeyRule{"enable_lora", Rule::kNeutral, "LoRA on parts of a merged projection"},
    KeyRule{"use_mora", Rule::kNeutral, "MoRA"},
    KeyRule{"use_pissa", Rule::kNeutral, "PiSSA, which changes the base model's weights"},
    KeyRule{"use_hira", Rule::kNeutral, "HiRA"},
    KeyRule{"use_sinelora", Rule::kNeutral, "Sine-LoRA"},
    KeyRule{"use_randlora", Rule::kNeutral, "RandLoRA"},
    KeyRule{"use_moslora", Rule::kNeutral, "MoSLoRA"},
    KeyRule{"lora_moe", Rule::kNeutral, "experts of LoRA"},
    KeyRule{"num_experts", Rule::kNeutral, "experts of LoRA"},
    KeyRule{"lora_nums", Rule::kNeutral, "experts of LoRA"},
};

bool IsNeutral(const json::value& value) {
  switch (value.kind()) {
    case json::kind::null:
      return true;
    case json::kind::bool_:
      return !value.get_bool();
    case json::kind::string:
      return value.get_string().empty();
    case json::kind::array:
      return value.get_array().empty();
    case json::kind::object:
      return value.get_object().empty();
    default:
      return false;
  }
}

tl::unexpected<Error> Unsupported(const JsonFields& fields, std::string_view key,
                                  std::string_view what) {
  return fields.FieldError(key, what, ErrorCode::kUnsupported);
}

Status CheckKeys(const JsonFields& fields, std::vector<std::string>& warnings) {
  for (const json::key_value_pair& entry : fields.object()) {
    const std::string_view key(entry.key().data(), entry.key().size());
    const auto* rule = std::find_if(kKeys.begin(), kKeys.end(),
                                    [&](const KeyRule& known) { return known.key == key; });
    const bool known = rule != kKeys.end();
    if ((known && rule->rule != Rule::kNeutral) || IsNeutral(entry.value())) continue;
    if (known)
      return Unsupported(fields, key,
                         fmt::format("asks for {}, which is not supported", rule->what));
    if (warnings.size() < kMaxWarnings) {
      warnings.push_back(fmt::format(
          "adapter_config.json: {} is not a key of PEFT's: dropped, as PEFT does", Quoted(key)));
    }
  }
  return {};
}

Status CheckMethod(const JsonFields& fields) {
  ASSIGN_OR_RETURN(const std::string peft_type, fields.Required<std::string>("peft_type"));
  if (peft_type != "LORA") {
    return Unsupported(fields, "peft_type",
                       fmt::format("{} is not supported, only \"LORA\"", Quoted(peft_type)));
  }
  // It chooses PEFT's wrapper: on a causal language model all six do the same to the modules that
  // the model has. A head for another task is a tensor, and refused as one.
  constexpr std::array<std::string_view, 6> kTasks = {
      "CAUSAL_LM", "SEQ_2_SEQ_LM", "FEATURE_EXTRACTION", "SEQ_CLS", "TOKEN_CLS", "QUESTION_ANS"};
  ASSIGN_OR_RETURN(const std::string task, fields.Or<std::string>("task_type", "CAUSAL_LM"));
  if (std::find(kTasks.begin(), kTasks.end(), task) == kTasks.end()) {
    return Unsupported(
        fields, "task_type",
        fmt::format("{} is not known, only {}", Quoted(task), fmt::join(kTasks, ", ")));
  }
  // Which biases were trained. The tensors say it as well: whatever base bias is there replaces its
  // own.
  ASSIGN_OR_RETURN(const std::string bias, fields.Or<std::string>("bias", "none"));
  if (bias != "none" && bias != "all" && bias != "lora_only") {
    return Unsupported(
        fields, "bias",
        fmt::format("{} is not known, only \"none\", \"all\" and \"lora_only\"", Quoted(bias)));
  }
  return {};
}

// Most ways to start the training leave x·Aᵀ·Bᵀ on the untouched base. Some take part of the base's
// weights into the adapter and only fit the base that is left, unless PEFT converted them when
// saving; it then writes `true` here.
Status CheckInitialisation(const JsonFields& fields) {
  constexpr std::string_view kKey = "init_lora_weights";
  const json::value* value = fields.Find(kKey);
  if (value == nullptr || value->is_bool()) return {};
  ASSIGN_OR_RETURN(std::string name, fields.Required<std::string>(kKey));
  name = AsciiLower(name);
  for (std::string_view plain : {"gaussian", "eva", "orthogonal", "mica"}) {
    if (name == plain) return {};
  }
  for (std::string_view changes_base : {"pissa", "olora", "corda", "loftq", "lora_ga"}) {
    if (!std::string_view(name).starts_with(changes_base)) continue;
    return Unsupported(
        fields, kKey,
        fmt::format("{} changes the base model's weights; have PEFT convert the adapter: "
                    "save_pretrained(path_initial_model_for_weight_conversion=…)",
                    Quoted(name)));
  }
  return Unsupported(fields, kKey, fmt::format("{} is not known", Quoted(name)));
}

Status CheckCount(const JsonFields& fields, std::string_view key, size_t count) {
  if (count <= kMaxEntries) return {};
  return fields.FieldError(key, fmt::format("has {} entries, the limit is {}", count, kMaxEntries),
                           ErrorCode::kTooLarge);
}

Result<ModuleSelector> ParseSelector(const JsonFields& fields, std::string_view key) {
  ModuleSelector selector;
  const json::value* value = fields.Find(key);
  if (value == nullptr) return selector;
  if (value->is_string()) {
    ASSIGN_OR_RETURN(selector.regex, fields.Required<std::string>(key));
    selector.kind = ModuleSelector::Kind::kRegex;
    return selector;
  }
  ASSIGN_OR_RETURN(selector.names, fields.Required<std::vector<std::string>>(key));
  RETURN_IF_ERROR(CheckCount(fields, key, selector.names.size()));
  selector.kind = ModuleSelector::Kind::kNames;
  return selector;
}

Result<ModuleSelector> ParseTargets(const JsonFields& fields) {
  ASSIGN_OR_RETURN(ModuleSelector targets, ParseSelector(fields, "target_modules"));
  if (targets.kind != ModuleSelector::Kind::kRegex) return targets;
  if (targets.regex == "dummy-target-modules") targets.kind = ModuleSelector::Kind::kNothing;
  if (EqualIgnoringCase(targets.regex, "all-linear")) {
    targets.kind = ModuleSelector::Kind::kAllLinear;
  }
  for (std::string_view key : {"layers_to_transform", "layers_pattern"}) {
    if (fields.Find(key) == nullptr) continue;
    return fields.FieldError(key, "cannot be used when target_modules is a string");
  }
  return targets;
}

Status ParseLayers(const JsonFields& fields, PeftLoraConfig& config) {
  constexpr std::string_view kLayers = "layers_to_transform";
  constexpr std::string_view kPattern = "layers_pattern";
  if (const json::value* value = fields.Find(kLayers)) {
    if (value->is_array()) {
      ASSIGN_OR_RETURN(config.layers_to_transform, fields.Required<std::vector<int64_t>>(kLayers));
      RETURN_IF_ERROR(CheckCount(fields, kLayers, config.layers_to_transform.size()));
    } else {
      ASSIGN_OR_RETURN(const int64_t layer, fields.Required<int64_t>(kLayers));
      config.layers_to_transform.push_back(layer);
    }
  }
  if (const json::value* value = fields.Find(kPattern)) {
    if (value->is_array()) {
      ASSIGN_OR_RETURN(config.layers_pattern, fields.Required<std::vector<std::string>>(kPattern));
    } else {
      ASSIGN_OR_RETURN(std::string pattern, fields.Required<std::string>(kPattern));
      if (!pattern.empty()) config.layers_pattern.push_back(std::move(pattern));
    }
    RETURN_IF_ERROR(CheckCount(fields, kPattern, config.layers_pattern.size()));
  }
  if (!config.layers_pattern.empty() && fields.Find(kLayers) == nullptr) {
    return fields.FieldError(kPattern, "needs layers_to_transform");
  }
  return {};
}

Result<int64_t> ParseRank(const json::value& value) {
  ASSIGN_OR_RETURN(const int64_t rank, FromJson<int64_t>(value));
  if (rank < 1 || rank > kMaxLoraRank) {
    return Fail(rank < 1 ? ErrorCode::kInvalidArgument : ErrorCode::kTooLarge,
                fmt::format("rank {}, must be 1 to {}", rank, kMaxLoraRank));
  }
  return rank;
}

Result<double> ParseAlpha(const json::value& value) {
  ASSIGN_OR_RETURN(const double alpha, FromJson<double>(value));
  constexpr double kMaxAlpha = 1e9;  // far from where a scaling in f32 overflows
  if (!(std::abs(alpha) <= kMaxAlpha)) {
    return Fail(ErrorCode::kInvalidArgument,
                fmt::format("alpha {}, must be within ±{}", alpha, kMaxAlpha));
  }
  return alpha;
}

// rank_pattern and alpha_pattern, in the order of the file.
template <typename T>
Result<std::vector<std::pair<std::string, T>>> ParsePattern(
    const JsonFields& fields, std::string_view key, Result<T> (*parse)(const json::value&)) {
  std::vector<std::pair<std::string, T>> pattern;
  const json::value* value = fields.Find(key);
  if (value == nullptr) return pattern;
  if (!value->is_object()) {
    return fields.FieldError(key, fmt::format("must be an object, is {}", JsonKindName(*value)));
  }
  RETURN_IF_ERROR(CheckCount(fields, key, value->get_object().size()));
  for (const json::key_value_pair& entry : value->get_object()) {
    std::string module(entry.key().data(), entry.key().size());
    Result<T> parsed = parse(entry.value());
    if (!parsed) {
      return fields.FieldError(key, fmt::format("{}: {}", Quoted(module), parsed.error().message),
                               parsed.error().code);
    }
    pattern.emplace_back(std::move(module), *parsed);
  }
  return pattern;
}

Status ParseRanks(const JsonFields& fields, PeftLoraConfig& config) {
  if (const json::value* rank = fields.Find("r")) {
    Result<int64_t> parsed = ParseRank(*rank);
    if (!parsed) return fields.FieldError("r", parsed.error().message, parsed.error().code);
    config.rank = *parsed;
  }
  if (const json::value* alpha = fields.Find("lora_alpha")) {
    Result<double> parsed = ParseAlpha(*alpha);
    if (!parsed) return fields.FieldError("lora_alpha", parsed.error().message);
    config.alpha = *parsed;
  }
  ASSIGN_OR_RETURN(config.use_rslora, fields.Or<bool>("use_rslora", false));
  ASSIGN_OR_RETURN(config.rank_pattern, ParsePattern<int64_t>(fields, "rank_pattern", ParseRank));
  ASSIGN_OR_RETURN(config.alpha_pattern, ParsePattern<double>(fields, "alpha_pattern", ParseAlpha));
  return {};
}

Result<std::vector<int64_t>> ParseTokenIndices(const JsonFields& fields, std::string_view key,
                                               const json::value& value) {
  Result<std::vector<int64_t>> indices = FromJson<std::vector<int64_t>>(value);
  if (!indices) return fields.FieldError(key, indices.error().message);
  constexpr size_t kMaxTokens = size_t{1} << 20;  // more than any vocabulary has
  if (indices->empty() || indices->size() > kMaxTokens) {
    return fields.FieldError(key, fmt::format("has {} tokens", indices->size()));
  }
  std::vector<int64_t> sorted = *indices;
  std::sort(sorted.begin(), sorted.end());
  const auto twice = std::adjacent_find(sorted.begin(), sorted.end());
  if (sorted.front() < 0) return fields.FieldError(key, "has a negative token");
  if (twice != sorted.end()) {
    return fields.FieldError(key, fmt::format("names token {} twice", *twice));
  }
  return indices;
}

Status ParseTokens(const JsonFields& fields, PeftLoraConfig& config) {
  constexpr std::string_view kKey = "trainable_token_indices";
  const json::value* value = fields.Find(kKey);
  if (value == nullptr) return {};
  if (!value->is_object()) {
    ASSIGN_OR_RETURN(auto indices, ParseTokenIndices(fields, kKey, *value));
    config.token_indices.emplace_back("embed_tokens", std::move(indices));
    return {};
  }
  RETURN_IF_ERROR(CheckCount(fields, kKey, value->get_object().size()));
  for (const json::key_value_pair& entry : value->get_object()) {
    ASSIGN_OR_RETURN(auto indices, ParseTokenIndices(fields, kKey, entry.value()));
    config.token_indices.emplace_back(std::string(entry.key().data(), entry.key().size()),
                                      std::move(indices));
  }
  return {};
}

// What goes beyond plain LoRA on linear layers.
Status ParseForms(const JsonFields& fields, PeftLoraConfig& config) {
  ASSIGN_OR_RETURN(config.use_dora, fields.Or<bool>("use_dora", false));
  ASSIGN_OR_RETURN(config.lora_bias, fields.Or<bool>("lora_bias", false));
  ASSIGN_OR_RETURN(config.ensure_weight_tying, fields.Or<bool>("ensure_weight_tying", false));
  ASSIGN_OR_RETURN(config.modules_to_save,
                   fields.Or<std::vector<std::string>>("modules_to_save", {}));
  RETURN_IF_ERROR(CheckCount(fields, "modules_to_save", config.modules_to_save.size()));
  RETURN_IF_ERROR(ParseTokens(fields, config));
  if (config.use_dora && config.lora_bias) {
    return Unsupported(fields, "lora_bias", "cannot go with use_dora, in PEFT neither");
  }
  if (config.use_dora && fields.Or<std::string>("init_lora_weights", "") == "mica") {
    return Unsupported(fields, "init_lora_weights",
                       "\"mica\" cannot go with use_dora, in PEFT neither");
  }
  return {};
}

}  // namespace

Result<PeftLoraConfig> ReadPeftLoraConfig(const std::string& adapter_dir) {
  const std::string path = adapter_dir + "/adapter_config.json";
  ASSIGN_OR_RETURN(const json::object object,
                   ReadJsonObject(path, {.max_bytes = kMaxPeftConfigBytes}));
  return ParsePeftLoraConfig(object, path);
}

Result<PeftLoraConfig> ParsePeftLoraConfig(const json::object& object, const std::string& where) {
  const JsonFields fields(object, where);
  PeftLoraConfig config;
  RETURN_IF_ERROR(CheckMethod(fields));
  RETURN_IF_ERROR(CheckKeys(fields, config.warnings));
  RETURN_IF_ERROR(CheckInitialisation(fields));
  RETURN_IF_ERROR(ParseRanks(fields, config));
  ASSIGN_OR_RETURN(config.target_modules, ParseTargets(fields));
  ASSIGN_OR_RETURN(config.exclude_modules, ParseSelector(fields, "exclude_modules"));
  RETURN_IF_ERROR(ParseLayers(fields, config));
  RETURN_IF_ERROR(ParseForms(fields, config));
  ASSIGN_OR_RETURN(config.base_model_name,
                   fields.Or<std::string>("base_model_name_or_path", std::string()));
  return config;
}

}  // namespace lorry::formats
