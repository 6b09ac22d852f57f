#include "formats/hf_config.h"

#include <fmt/ranges.h>

#include <array>
#include <cmath>

#include "formats/json.h"
#include "formats/refused_keys.h"
#include "formats/token_ids.h"

namespace lorry::formats {
namespace {

namespace json = boost::json;

struct FamilyEntry {
  ModelFamily family;
  std::string_view model_type;
  std::string_view architecture;
  // What transformers' class takes where the file does not say.
  int64_t vocab_size;
  int64_t intermediate_size;
  int64_t max_positions;
  std::optional<int64_t> num_kv_heads;  // nothing: as many as heads
};
constexpr std::array kFamilies = {
    FamilyEntry{ModelFamily::kLlama, "llama", "LlamaForCausalLM", 32000, 11008, 2048, {}},
    FamilyEntry{ModelFamily::kQwen2, "qwen2", "Qwen2ForCausalLM", 151936, 22016, 32768, 32},
};
// The same for both.
constexpr int64_t kDefaultHiddenSize = 4096;
constexpr int64_t kDefaultLayers = 32;
constexpr int64_t kDefaultHeads = 32;
constexpr int64_t kDefaultWindow = 4096;       // Qwen2's
constexpr int64_t kDefaultFirstWindowed = 28;  // Qwen2's max_window_layers

// Far above any model, low enough that products of two stay within 64 bits.
constexpr int64_t kMaxVocab = int64_t{1} << 24;
constexpr int64_t kMaxHidden = int64_t{1} << 17;
constexpr int64_t kMaxIntermediate = int64_t{1} << 20;
constexpr int64_t kMaxLayers = 1024;
constexpr int64_t kMaxHeads = 4096;
constexpr int64_t kMaxHeadDim = 1024;
constexpr int64_t kMaxPositions = int64_t{1} << 30;

std::string Supported() {
  std::vector<std::string_view> names;
  for (const FamilyEntry& entry : kFamilies) names.push_back(entry.architecture);
  return fmt::format("{}", fmt::join(names, ", "));
}

tl::unexpected<Error> Unsupported(const JsonFields& fields, std::string_view key,
                                  std::string_view what) {
  return fields.FieldError(key, what, ErrorCode::kUnsupported);
}

Result<FamilyEntry> ParseFamily(const JsonFields& fields) {
  ASSIGN_OR_RETURN(const auto model_type, fields.Optional<std::string>("model_type"));
  ASSIGN_OR_RETURN(const auto architectures,
                   fields.Optional<std::vector<std::string>>("architectures"));
  if (!architectures && !model_type) return fields.FieldError("architectures", "is missing");
  for (const FamilyEntry& entry : kFamilies) {
    const bool named =
        architectures ? architectures->size() == 1 && architectures->front() == entry.architecture
                      : *model_type == entry.model_type;
    if (!named) continue;
    if (model_type && *model_type != entry.model_type) {
      return fields.FieldError("model_type",
                               fmt::format("is {}, {} needs \"{}\"", Quoted(*model_type),
                                           entry.architecture, entry.model_type));
    }
    return entry;
  }
  const std::string_view key = architectures ? "architectures" : "model_type";
  const std::string value =
      architectures ? fmt::format("{}", fmt::join(*architectures, ", ")) : *model_type;
  return Unsupported(
      fields, key,
      fmt::format("{} is not supported; supported are {}", Quoted(value), Supported()));
}

// A number that must be finite and above `above`.
Result<double> PositiveOr(const JsonFields& fields, std::string_view key, double fallback,
                          double above = 0.0) {
  ASSIGN_OR_RETURN(const double value, fields.Or<double>(key, fallback));
  if (!std::isfinite(value) || value <= above) {
    return fields.FieldError(key, fmt::format("is {}, must be above {}", value, above));
  }
  return value;
}

// A size that the class has a default for; null is none.
Result<int64_t> SizeOr(const JsonFields& fields, std::string_view key, int64_t max,
                       int64_t fallback) {
  if (!fields.object().contains(key)) return fallback;
  return fields.RequiredInRange(key, 1, max);
}

Result<double> RequiredPositive(const JsonFields& fields, std::string_view key) {
  if (fields.Find(key) == nullptr) return fields.FieldError(key, "is missing");
  return PositiveOr(fields, key, 0.0);
}

// One object of settings: rope_scaling of transformers 4, rope_parameters of 5.
Result<RopeConfig> ParseRopeObject(const JsonFields& rope, double default_theta) {
  RopeConfig result;
  ASSIGN_OR_RETURN(result.theta, PositiveOr(rope, "rope_theta", default_theta, 1.0));
  ASSIGN_OR_RETURN(const double rotary_share, rope.Or<double>("partial_rotary_factor", 1.0));
  if (rotary_share != 1.0) return Unsupported(rope, "partial_rotary_factor", "must be 1");
  // `type` is what versions before 4.43 wrote. Where both stand, transformers 4 takes one and 5 the
  // other.
  ASSIGN_OR_RETURN(const auto legacy_type, rope.Optional<std::string>("type"));
  ASSIGN_OR_RETURN(const std::string type,
                   rope.Or<std::string>("rope_type", legacy_type.value_or("default")));
  if (legacy_type && *legacy_type != type) {
    return rope.FieldError(
        "type", fmt::format("is {}, rope_type is {}", Quoted(*legacy_type), Quoted(type)));
  }
  if (type == "default") return result;
  if (type == "linear") {
    result.type = RopeType::kLinear;
    ASSIGN_OR_RETURN(result.factor, RequiredPositive(rope, "factor"));
    return result;
  }
  if (type != "llama3") {
    return Unsupported(
        rope, "rope_type",
        fmt::format("{} is not supported; supported are default, linear, llama3", Quoted(type)));
  }
  result.type = RopeType::kLlama3;
  ASSIGN_OR_RETURN(result.factor, RequiredPositive(rope, "factor"));
  ASSIGN_OR_RETURN(result.low_freq_factor, RequiredPositive(rope, "low_freq_factor"));
  ASSIGN_OR_RETURN(result.high_freq_factor, RequiredPositive(rope, "high_freq_factor"));
  if (result.high_freq_factor <= result.low_freq_factor) {
    return rope.FieldError("high_freq_factor", "must be above low_freq_factor");
  }
  ASSIGN_OR_RETURN(result.original_max_position_embeddings,
                   rope.RequiredInRange("original_max_position_embeddings", 1, kMaxPositions));
  return result;
}

Result<RopeConfig> ParseRopeField(const JsonFields& fields, std::string_view key,
                                  double default_theta) {
  const json::value* value = fields.Find(key);
  if (value == nullptr) return RopeConfig{.theta = default_theta};
  if (!value->is_object()) {
    return fields.FieldError(key, fmt::format("must be an object, is {}", JsonKindName(*value)));
  }
  for (const json::key_value_pair& entry : value->get_object()) {
    if (entry.value().is_object()) {
      return Unsupported(fields, key, "differs between layers, which is not supported");
    }
  }
  return ParseRopeObject(
      JsonFields(value->get_object(), fmt::format("{}: \"{}\"", fields.where(), key)),
      default_theta);
}

// transformers 4 reads the value beside the object, 5 the one inside: they may not differ.
Status CheckTheta(const JsonFields& fields, std::string_view key, double theta) {
  const json::value* value = fields.Find(key);
  if (value == nullptr) return {};
  const JsonFields inner(value->get_object(), fields.where());
  ASSIGN_OR_RETURN(const double inside, inner.Or<double>("rope_theta", theta));
  // A file of transformers 5 has the value inside alone.
  if (inside == theta || (key == "rope_parameters" && fields.Find("rope_theta") == nullptr)) {
    return {};
  }
  return fields.FieldError("rope_theta",
                           fmt::format("is {}, that of {} is {}", theta, key, inside));
}

// transformers 5 puts the value beside the object in place of the one inside, 4 does not.
Status CheckOriginalPositions(const JsonFields& fields, const RopeConfig& rope) {
  constexpr std::string_view kKey = "original_max_position_embeddings";
  ASSIGN_OR_RETURN(const auto beside, fields.Optional<int64_t>(kKey));
  if (!beside || rope.type == RopeType::kDefault) return {};
  if (rope.type == RopeType::kLlama3 && *beside == rope.original_max_position_embeddings) return {};
  return Unsupported(fields, kKey, "stands beside the rope parameters instead of in them");
}

Result<RopeConfig> ParseRope(const JsonFields& fields) {
  ASSIGN_OR_RETURN(const double theta, PositiveOr(fields, "rope_theta", 10000.0, 1.0));
  ASSIGN_OR_RETURN(const double rotary_share, fields.Or<double>("partial_rotary_factor", 1.0));
  if (rotary_share != 1.0) return Unsupported(fields, "partial_rotary_factor", "must be 1");
  ASSIGN_OR_RETURN(RopeConfig rope, ParseRopeField(fields, "rope_scaling", theta));
  RETURN_IF_ERROR(CheckTheta(fields, "rope_scaling", theta));
  if (fields.Find("rope_parameters") != nullptr) {
    ASSIGN_OR_RETURN(const RopeConfig form_5, ParseRopeField(fields, "rope_parameters", theta));
    RETURN_IF_ERROR(CheckTheta(fields, "rope_parameters", theta));
    if (fields.Find("rope_scaling") != nullptr && !(rope == form_5)) {
      return fields.FieldError("rope_parameters", "contradicts rope_scaling");
    }
    rope = form_5;
  }
  RETURN_IF_ERROR(CheckOriginalPositions(fields, rope));
  return rope;
}

// All layers must see the whole context.
Status CheckAttentionKinds(const JsonFields& fields, const HfConfig& config) {
  ASSIGN_OR_RETURN(const auto kinds, fields.Optional<std::vector<std::string>>("layer_types"));
  if (kinds) {
    if (static_cast<int64_t>(kinds->size()) != config.num_layers) {
      return fields.FieldError("layer_types", fmt::format("has {} entries for {} layers",
                                                          kinds->size(), config.num_layers));
    }
    for (const std::string& kind : *kinds) {
      if (kind != "full_attention") {
        return Unsupported(fields, "layer_types",
                           fmt::format("{} is not supported, only full_attention", Quoted(kind)));
      }
    }
    return {};
  }
  // Qwen2 names a window that it does not use unless use_sliding_window is true, then from
  // max_window_layers on. Llama has no such keys, but transformers' cache drops what lies before a
  // window that the file names.
  int64_t first_window_layer = 0;
  std::optional<int64_t> window;
  ASSIGN_OR_RETURN(window, fields.Optional<int64_t>("sliding_window"));
  if (config.family == ModelFamily::kQwen2) {
    ASSIGN_OR_RETURN(const bool uses_window, fields.Or<bool>("use_sliding_window", false));
    if (!uses_window) return {};
    if (!fields.object().contains("sliding_window")) window = kDefaultWindow;
    ASSIGN_OR_RETURN(first_window_layer,
                     fields.Or<int64_t>("max_window_layers", kDefaultFirstWindowed));
  }
  if (!window || *window >= config.max_position_embeddings ||
      first_window_layer >= config.num_layers) {
    return {};
  }
  return Unsupported(
      fields, "sliding_window",
      fmt::format("sliding-window attention ({} of {} tokens{}) is not supported", *window,
                  config.max_position_embeddings,
                  fields.object().contains("sliding_window") ? "" : ", the class's default"));
}

Status ParseSizes(const JsonFields& fields, const FamilyEntry& family, HfConfig& config) {
  ASSIGN_OR_RETURN(config.vocab_size, SizeOr(fields, "vocab_size", kMaxVocab, family.vocab_size));
  ASSIGN_OR_RETURN(config.hidden_size,
                   SizeOr(fields, "hidden_size", kMaxHidden, kDefaultHiddenSize));
  ASSIGN_OR_RETURN(config.intermediate_size,
                   SizeOr(fields, "intermediate_size", kMaxIntermediate, family.intermediate_size));
  ASSIGN_OR_RETURN(config.num_layers,
                   SizeOr(fields, "num_hidden_layers", kMaxLayers, kDefaultLayers));
  ASSIGN_OR_RETURN(config.num_heads,
                   SizeOr(fields, "num_attention_heads", kMaxHeads, kDefaultHeads));
  const int64_t default_kv_heads = fields.object().contains("num_key_value_heads")
                                       ? config.num_heads
                                       : family.num_kv_heads.value_or(config.num_heads);
  ASSIGN_OR_RETURN(config.num_kv_heads,
                   fields.InRangeOr("num_key_value_heads", 1, config.num_heads, default_kv_heads));
  if (config.num_heads % config.num_kv_heads != 0) {
    return fields.FieldError("num_key_value_heads",
                             fmt::format("is {}, does not divide num_attention_heads {}",
                                         config.num_kv_heads, config.num_heads));
  }
  if (fields.Find("head_dim") == nullptr && config.hidden_size % config.num_heads != 0) {
    return fields.FieldError(
        "num_attention_heads",
        fmt::format("is {}, does not divide hidden_size {}", config.num_heads, config.hidden_size));
  }
  ASSIGN_OR_RETURN(config.head_dim, fields.InRangeOr("head_dim", 2, kMaxHeadDim,
                                                     config.hidden_size / config.num_heads));
  if (config.head_dim % 2 != 0 || config.head_dim < 2 || config.head_dim > kMaxHeadDim) {
    return fields.FieldError(
        "head_dim", fmt::format("is {}, must be even, 2 to {}", config.head_dim, kMaxHeadDim));
  }
  ASSIGN_OR_RETURN(
      config.max_position_embeddings,
      fields.InRangeOr("max_position_embeddings", 1, kMaxPositions, family.max_positions));
  return {};
}

Status ParseBiases(const JsonFields& fields, HfConfig& config) {
  if (config.family == ModelFamily::kQwen2) {
    config.qkv_bias = true;  // fixed in the architecture; the file has no word for it
    return {};
  }
  ASSIGN_OR_RETURN(config.qkv_bias, fields.Or<bool>("attention_bias", false));
  config.o_bias = config.qkv_bias;
  ASSIGN_OR_RETURN(config.mlp_bias, fields.Or<bool>("mlp_bias", false));
  return {};
}

// `dtype` of transformers 5, `torch_dtype` of 4; "torch.bfloat16" is an old spelling.
Result<std::optional<DType>> ParseDType(const JsonFields& fields) {
  const std::string_view key = fields.Find("dtype") != nullptr ? "dtype" : "torch_dtype";
  ASSIGN_OR_RETURN(const auto name, fields.Optional<std::string>(key));
  if (!name || *name == "auto") return std::optional<DType>();
  std::string_view type = *name;
  if (type.starts_with("torch.")) type.remove_prefix(6);
  if (type == "float32") return std::optional(DType::kF32);
  if (type == "bfloat16") return std::optional(DType::kBF16);
  if (type == "float16") return std::optional(DType::kF16);
  if (type == "float64") return std::optional(DType::kF64);  // computed in as float32
  return Unsupported(
      fields, key,
      fmt::format("{} is not supported; supported are float64, float32, bfloat16, float16",
                  Quoted(*name)));
}

}  // namespace

std::string_view ModelFamilyName(ModelFamily family) {
  for (const FamilyEntry& entry : kFamilies) {
    if (entry.family == family) return entry.model_type;
  }
  return "?";
}

Result<HfConfig> ReadHfConfig(const std::string& model_dir) {
  const std::string path = model_dir + "/config.json";
  ASSIGN_OR_RETURN(const json::object object, ReadJsonObject(path, {.max_bytes = 4 << 20}));
  return ParseHfConfig(object, path);
}

Result<HfConfig> ParseHfConfig(const json::object& object, const std::string& where) {
  const JsonFields fields(object, where);
  ASSIGN_OR_RETURN(const FamilyEntry family, ParseFamily(fields));
  HfConfig config;
  config.family = family.family;
  config.architecture = family.architecture;
  RETURN_IF_ERROR(RefuseWhatIsNotComputed(fields));
  RETURN_IF_ERROR(ParseSizes(fields, family, config));
  RETURN_IF_ERROR(CheckAttentionKinds(fields, config));
  ASSIGN_OR_RETURN(config.rms_norm_eps, PositiveOr(fields, "rms_norm_eps", 1e-6));
  if (config.rms_norm_eps > 1.0) return fields.FieldError("rms_norm_eps", "must be at most 1");
  ASSIGN_OR_RETURN(config.tie_word_embeddings, fields.Or<bool>("tie_word_embeddings", false));
  RETURN_IF_ERROR(ParseBiases(fields, config));
  ASSIGN_OR_RETURN(config.rope, ParseRope(fields));
  ASSIGN_OR_RETURN(config.dtype, ParseDType(fields));
  ASSIGN_OR_RETURN(config.bos_token_ids, ParseTokenIds(fields, "bos_token_id"));
  ASSIGN_OR_RETURN(config.eos_token_ids, ParseTokenIds(fields, "eos_token_id"));
  return config;
}

}  // namespace lorry::formats
