#include "formats/generation_config.h"

#include "formats/json.h"
#include "formats/refused_keys.h"
#include "formats/token_ids.h"

namespace lorry::formats {
namespace {

struct Range {
  double min;
  double max;
  bool min_allowed;
};

Result<std::optional<double>> NumberIn(const JsonFields& fields, std::string_view key,
                                       const Range& range) {
  ASSIGN_OR_RETURN(const std::optional<double> value, fields.Optional<double>(key));
  if (!value) return value;
  const bool above = range.min_allowed ? *value >= range.min : *value > range.min;
  if (!above || *value > range.max) {
    return fields.FieldError(
        key, fmt::format("is {}, must be {} {} and at most {}", *value,
                         range.min_allowed ? "at least" : "above", range.min, range.max));
  }
  return value;
}

Result<std::optional<int64_t>> IntegerFrom(const JsonFields& fields, std::string_view key,
                                           int64_t min) {
  ASSIGN_OR_RETURN(const std::optional<int64_t> value, fields.Optional<int64_t>(key));
  if (value && *value < min) {
    return fields.FieldError(key, fmt::format("is {}, must be at least {}", *value, min));
  }
  return value;
}

}  // namespace

Result<GenerationConfig> ReadGenerationConfig(const std::string& model_dir) {
  const std::string path = model_dir + "/generation_config.json";
  ASSIGN_OR_RETURN(const boost::json::object object, ReadJsonIfThere(path, {.max_bytes = 4 << 20}));
  return ParseGenerationConfig(object, path);
}

Result<GenerationConfig> ParseGenerationConfig(const boost::json::object& object,
                                               const std::string& where) {
  const JsonFields fields(object, where);
  GenerationConfig config;
  RETURN_IF_ERROR(RefuseWhatIsNotSampled(fields));
  ASSIGN_OR_RETURN(config.eos_token_ids, ParseTokenIds(fields, "eos_token_id"));
  ASSIGN_OR_RETURN(config.do_sample, fields.Optional<bool>("do_sample"));
  ASSIGN_OR_RETURN(config.temperature, NumberIn(fields, "temperature", {0.0, 100.0, true}));
  ASSIGN_OR_RETURN(config.top_p, NumberIn(fields, "top_p", {0.0, 1.0, false}));
  ASSIGN_OR_RETURN(config.min_p, NumberIn(fields, "min_p", {0.0, 1.0, true}));
  ASSIGN_OR_RETURN(config.top_k, IntegerFrom(fields, "top_k", 0));
  ASSIGN_OR_RETURN(config.repetition_penalty,
                   NumberIn(fields, "repetition_penalty", {0.0, 1000.0, false}));
  ASSIGN_OR_RETURN(config.max_new_tokens, IntegerFrom(fields, "max_new_tokens", 1));
  return config;
}

}  // namespace lorry::formats
