#include "api/openai/parse_common.h"

#include <algorithm>
#include <charconv>
#include <limits>

namespace lorry::api::openai {
namespace {

namespace json = boost::json;

constexpr int kMaxInt = std::numeric_limits<int>::max();

std::string_view View(const json::string& text) { return {text.data(), text.size()}; }

// Zeros and empties read as "off" whatever their spelling: 0, 0.0, "", [], {}.
bool IsHarmless(const json::value& value, std::string_view harmless) {
  if (value.is_string() && value.get_string().empty()) return true;
  if (value.is_array() && value.get_array().empty()) return true;
  if (value.is_object() && value.get_object().empty()) return true;
  if (harmless.empty()) return false;
  if (value.is_number()) {
    double number = 0;
    const auto read = std::from_chars(harmless.data(), harmless.data() + harmless.size(), number);
    return read.ec == std::errc() && value.to_number<double>() == number;
  }
  if (value.is_array() && value.get_array().size() > 1) return false;
  return !value.is_object() && json::serialize(value) == harmless;
}

void ReadStop(FieldReader& fields, const ParseLimits& limits, CommonRequest& request) {
  const json::value* stop = fields.Find("stop");
  if (stop == nullptr) return;
  const auto add = [&](const json::value& item, std::string_view name) {
    if (!item.is_string() || item.get_string().empty() ||
        item.get_string().size() > static_cast<size_t>(limits.max_stop_bytes)) {
      return fields.Wrong(name, fmt::format("a string of 1 to {} bytes", limits.max_stop_bytes),
                          item);
    }
    request.stop.emplace_back(View(item.get_string()));
  };
  if (!stop->is_array()) return add(*stop, "stop");
  const json::array& items = stop->get_array();
  if (items.size() > static_cast<size_t>(limits.max_stop_strings)) {
    return fields.Fail(ErrorCode::kInvalidArgument, "stop",
                       fmt::format("'stop' has {} strings; the limit is {}.", items.size(),
                                   limits.max_stop_strings));
  }
  for (size_t i = 0; i < items.size(); ++i) add(items[i], fmt::format("stop[{}]", i));
}

void ReadLogitBias(FieldReader& fields, const ParseLimits& limits, SamplingParams& sampling) {
  const json::value* value = fields.Find("logit_bias");
  if (value == nullptr) return;
  if (!value->is_object()) {
    return fields.Wrong("logit_bias", "an object from token ids to numbers", *value);
  }
  const json::object& biases = value->get_object();
  if (biases.size() > static_cast<size_t>(limits.max_logit_biases)) {
    return fields.Fail(ErrorCode::kInvalidArgument, "logit_bias",
                       fmt::format("'logit_bias' has {} entries; the limit is {}.", biases.size(),
                                   limits.max_logit_biases));
  }
  FieldReader entries(biases, "logit_bias.");
  for (const auto& entry : biases) {
    const std::string_view key(entry.key().data(), entry.key().size());
    TokenId token = -1;
    const auto read = std::from_chars(key.data(), key.data() + key.size(), token);
    if (read.ec != std::errc() || read.ptr != key.data() + key.size() || token < 0) {
      return fields.Fail(ErrorCode::kInvalidArgument, "logit_bias",
                         fmt::format("The keys of 'logit_bias' must be token ids, not {}.",
                                     Describe(json::value(entry.key()))));
    }
    float bias = 0;
    entries.Number(key, {-100, 100}, bias);
    sampling.logit_bias.emplace_back(token, bias);
  }
  if (const Status status = entries.status(); !status) {
    fields.Fail(status.error().code, "logit_bias", status.error().message);
  }
}

void ReadSampling(FieldReader& fields, const ParseLimits& limits, CommonRequest& request) {
  SamplingParams& sampling = request.sampling;
  fields.Number("temperature", {0, 2}, sampling.temperature);
  fields.Number("top_p", {0, 1}, sampling.top_p);
  fields.Number("min_p", {0, 1}, sampling.min_p);
  fields.Int("top_k", {-1, kMaxInt}, sampling.top_k);
  sampling.top_k = std::max(sampling.top_k, 0);  // -1 and 0 both say: off
  fields.Number("presence_penalty", {-2, 2}, sampling.presence_penalty);
  fields.Number("frequency_penalty", {-2, 2}, sampling.frequency_penalty);
  fields.Number("repetition_penalty", {0, 100, /*above_min=*/true}, sampling.repetition_penalty);
  fields.Int64("seed", request.seed);
  fields.Bool("ignore_eos", sampling.ignore_eos);
  ReadLogitBias(fields, limits, sampling);
  if (const json::value* ids = fields.Find("stop_token_ids")) {
    ReadTokenIds(fields, "stop_token_ids", *ids, static_cast<size_t>(limits.max_stop_token_ids),
                 sampling.stop_token_ids);
  }
}

void ReadStreamOptions(FieldReader& fields, CommonRequest& request) {
  fields.Bool("stream", request.stream);
  const json::value* value = fields.Find("stream_options");
  if (value == nullptr) return;
  if (!value->is_object()) return fields.Wrong("stream_options", "an object", *value);
  if (!request.stream) {
    return fields.Fail(ErrorCode::kInvalidArgument, "stream_options",
                       "'stream_options' is only allowed with 'stream': true.");
  }
  FieldReader options(value->get_object(), "stream_options.");
  options.Bool("include_usage", request.include_usage);
  if (const Status status = options.status(); !status) {
    fields.Fail(status.error().code, "stream_options", status.error().message);
  }
}

void ReadResponseFormat(FieldReader& fields) {
  const json::value* value = fields.Find("response_format");
  if (value == nullptr) return;
  if (!value->is_object()) return fields.Wrong("response_format", "an object", *value);
  const json::value* type = value->get_object().if_contains("type");
  if (type != nullptr && type->is_string() && type->get_string() == "text") return;
  fields.Fail(ErrorCode::kUnsupported, "response_format",
              fmt::format("'response_format' of type {} is not supported; only 'text' is.",
                          type == nullptr ? "null" : Describe(*type)));
}

}  // namespace

void RefuseUnsupported(FieldReader& fields, std::initializer_list<Unsupported> list) {
  for (const Unsupported& item : list) {
    const json::value* value = fields.Find(item.name);
    if (value == nullptr || IsHarmless(*value, item.harmless)) continue;
    fields.Fail(ErrorCode::kUnsupported, item.name,
                item.harmless.empty()
                    ? fmt::format("'{}' is not supported by this server; leave it out.", item.name)
                    : fmt::format("'{}' is not supported by this server; leave it out or send {}.",
                                  item.name, item.harmless));
  }
}

void ReadTokenIds(FieldReader& fields, std::string_view name, const json::value& value,
                  size_t max_count, std::vector<TokenId>& out) {
  if (!value.is_array()) return fields.Wrong(name, "a list of token ids", value);
  const json::array& ids = value.get_array();
  if (ids.size() > max_count) {
    return fields.Fail(
        ErrorCode::kInvalidArgument, name,
        fmt::format("'{}' has {} token ids; the limit is {}.", name, ids.size(), max_count));
  }
  out.reserve(ids.size());
  for (size_t i = 0; i < ids.size(); ++i) {
    const std::optional<int64_t> id = WholeNumber(ids[i]);
    if (!id || *id < 0 || *id > std::numeric_limits<TokenId>::max()) {
      return fields.Wrong(fmt::format("{}[{}]", name, i), "a token id", ids[i]);
    }
    out.push_back(static_cast<TokenId>(*id));
  }
}

void ReadCommon(FieldReader& fields, const ParseLimits& limits, CommonRequest& request) {
  ReadModel(fields, request);
  request.sampling = limits.default_sampling;
  fields.Int("n", {1, limits.max_n}, request.n);
  ReadStreamOptions(fields, request);
  ReadSampling(fields, limits, request);
  ReadStop(fields, limits, request);
  ReadResponseFormat(fields);
  fields.Bool("include_stop_str_in_output", request.include_stop_in_output);
  fields.Bool("skip_special_tokens", request.skip_special_tokens);
  fields.Bool("return_token_ids", request.return_token_ids);
  // vLLM's, SGLang's and llama.cpp's fields that would change what is generated.
  RefuseUnsupported(fields, {{"use_beam_search", "false"},
                             {"length_penalty", "1"},
                             {"structured_outputs", ""},
                             {"guided_json", ""},
                             {"guided_regex", ""},
                             {"guided_choice", ""},
                             {"guided_grammar", ""},
                             {"grammar", ""},
                             {"json_schema", ""},
                             {"regex", ""},
                             {"ebnf", ""},
                             {"logits_processors", ""},
                             {"allowed_token_ids", ""},
                             {"bad_words", ""},
                             {"truncate_prompt_tokens", ""},
                             {"prompt_logprobs", ""},
                             {"prompt_embeds", ""},
                             {"typical_p", "1"},
                             {"mirostat", "0"}});
}

void ReadMinTokens(FieldReader& fields, CommonRequest& request) {
  fields.Int("min_tokens", {0, request.max_tokens.value_or(kMaxInt)}, request.sampling.min_tokens);
}

}  // namespace lorry::api::openai
