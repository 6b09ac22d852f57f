#include "formats/refused_keys.h"

#include <array>
#include <span>

namespace lorry::formats {
namespace {

namespace json = boost::json;

// The value with which a key changes nothing, beside null.
enum class Neutral { kNull, kFalse, kTrue, kZero, kOne, kEmpty };

struct KeyRule {
  std::string_view key;
  Neutral neutral;
  std::string_view what;  // what it asks for
};

constexpr std::array kModelRules = {
    // Read by the classes, by the cache or by the loader of transformers.
    KeyRule{"is_causal", Neutral::kTrue, "attention to what comes later"},
    KeyRule{"use_bidirectional_attention", Neutral::kFalse, "attention to what comes later"},
    KeyRule{"attention_chunk_size", Neutral::kNull, "attention in chunks"},
    KeyRule{"num_kv_shared_layers", Neutral::kZero, "layers that share keys and values"},
    KeyRule{"is_encoder_decoder", Neutral::kFalse, "an encoder"},
    KeyRule{"add_cross_attention", Neutral::kFalse, "cross-attention"},
    KeyRule{"cross_attention_hidden_size", Neutral::kNull, "cross-attention"},
    KeyRule{"tie_encoder_decoder", Neutral::kFalse, "an encoder"},
    KeyRule{"pruned_heads", Neutral::kEmpty, "pruned heads"},
    KeyRule{"chunk_size_feed_forward", Neutral::kZero, "a feed-forward in chunks"},
    KeyRule{"text_config", Neutral::kNull, "a model inside another"},
    KeyRule{"vision_config", Neutral::kNull, "pictures"},
    KeyRule{"audio_config", Neutral::kNull, "sound"},
    KeyRule{"quantization", Neutral::kNull, "quantised weights"},
    KeyRule{"compression_config", Neutral::kNull, "quantised weights"},
    // Of other classes.
    KeyRule{"attn_logit_softcapping", Neutral::kNull, "capped attention scores"},
    KeyRule{"final_logit_softcapping", Neutral::kNull, "capped logits"},
    KeyRule{"attention_multiplier", Neutral::kNull, "scaled attention scores"},
    KeyRule{"query_pre_attn_scalar", Neutral::kNull, "scaled attention scores"},
    KeyRule{"embedding_multiplier", Neutral::kOne, "scaled embeddings"},
    KeyRule{"scale_emb", Neutral::kOne, "scaled embeddings"},
    KeyRule{"residual_multiplier", Neutral::kOne, "scaled residuals"},
    KeyRule{"scale_depth", Neutral::kNull, "scaled residuals"},
    KeyRule{"dim_model_base", Neutral::kNull, "scaled logits"},
    KeyRule{"logits_scaling", Neutral::kOne, "scaled logits"},
    KeyRule{"logit_scale", Neutral::kOne, "scaled logits"},
    KeyRule{"clip_qkv", Neutral::kNull, "clipped queries, keys and values"},
    KeyRule{"qk_norm", Neutral::kFalse, "norms of queries and keys"},
    KeyRule{"use_qk_norm", Neutral::kFalse, "norms of queries and keys"},
    KeyRule{"qk_layernorm", Neutral::kFalse, "norms of queries and keys"},
    KeyRule{"alibi", Neutral::kFalse, "ALiBi"},
    KeyRule{"no_rope_layers", Neutral::kEmpty, "layers without rotary embedding"},
    KeyRule{"rotary_pct", Neutral::kOne, "a partial rotary embedding"},
    KeyRule{"rope_ratio", Neutral::kOne, "a stretched rotary embedding"},
    KeyRule{"parallel_attn", Neutral::kFalse, "attention beside the feed-forward"},
    KeyRule{"num_experts", Neutral::kZero, "experts"},
    KeyRule{"num_local_experts", Neutral::kZero, "experts"},
    KeyRule{"n_routed_experts", Neutral::kZero, "experts"},
};

constexpr std::array kSamplingRules = {
    KeyRule{"num_beams", Neutral::kOne, "a search with beams"},
    KeyRule{"num_beam_groups", Neutral::kOne, "a search with beams"},
    KeyRule{"constraints", Neutral::kEmpty, "a search with constraints"},
    KeyRule{"force_words_ids", Neutral::kEmpty, "a search with constraints"},
    KeyRule{"penalty_alpha", Neutral::kZero, "contrastive search"},
    KeyRule{"dola_layers", Neutral::kNull, "DoLa"},
    KeyRule{"guidance_scale", Neutral::kOne, "classifier-free guidance"},
    KeyRule{"watermarking_config", Neutral::kNull, "a watermark"},
    KeyRule{"typical_p", Neutral::kOne, "typical sampling"},
    KeyRule{"epsilon_cutoff", Neutral::kZero, "epsilon sampling"},
    KeyRule{"eta_cutoff", Neutral::kZero, "eta sampling"},
    KeyRule{"top_h", Neutral::kNull, "top-h sampling"},
    KeyRule{"no_repeat_ngram_size", Neutral::kZero, "texts without repeated n-grams"},
    KeyRule{"encoder_no_repeat_ngram_size", Neutral::kZero, "texts without the prompt's n-grams"},
    KeyRule{"encoder_repetition_penalty", Neutral::kOne, "a penalty for what the prompt lacks"},
    KeyRule{"exponential_decay_length_penalty", Neutral::kNull, "a penalty for length"},
    KeyRule{"bad_words_ids", Neutral::kEmpty, "words that may not come"},
    KeyRule{"sequence_bias", Neutral::kEmpty, "a bias for words"},
    KeyRule{"suppress_tokens", Neutral::kEmpty, "tokens that may not come"},
    KeyRule{"begin_suppress_tokens", Neutral::kEmpty, "tokens that may not come first"},
    KeyRule{"forced_bos_token_id", Neutral::kNull, "a forced token"},
    KeyRule{"forced_eos_token_id", Neutral::kNull, "a forced token"},
    KeyRule{"min_length", Neutral::kZero, "a least length"},
    KeyRule{"min_new_tokens", Neutral::kZero, "a least length"},
    KeyRule{"stop_strings", Neutral::kEmpty, "strings that end a text"},
    KeyRule{"token_healing", Neutral::kFalse, "token healing"},
};

bool IsNumber(const json::value& value, double number) {
  const auto converted = FromJson<double>(value);
  return converted.has_value() && *converted == number;
}

bool IsNeutral(const json::value& value, Neutral neutral) {
  switch (neutral) {
    case Neutral::kNull:
      return value.is_null();
    case Neutral::kFalse:
      return value.is_bool() && !value.get_bool();
    case Neutral::kTrue:
      return value.is_bool() && value.get_bool();
    case Neutral::kZero:
      return IsNumber(value, 0.0);
    case Neutral::kOne:
      return IsNumber(value, 1.0);
    case Neutral::kEmpty:
      return (value.is_array() && value.get_array().empty()) ||
             (value.is_object() && value.get_object().empty());
  }
  return false;
}

tl::unexpected<Error> Unsupported(const JsonFields& fields, std::string_view key,
                                  std::string_view what) {
  return fields.FieldError(key, what, ErrorCode::kUnsupported);
}

Status Apply(std::span<const KeyRule> rules, const JsonFields& fields) {
  for (const KeyRule& rule : rules) {
    const json::value* value = fields.Find(rule.key);
    if (value == nullptr || IsNeutral(*value, rule.neutral)) continue;
    return Unsupported(fields, rule.key,
                       fmt::format("asks for {}, which is not supported", rule.what));
  }
  return {};
}

// Code of the model's own, which transformers runs if it is told to.
Status RefuseOwnCode(const JsonFields& fields) {
  const json::value* map = fields.Find("auto_map");
  if (map == nullptr || !map->is_object()) return {};
  for (std::string_view name : {"AutoModelForCausalLM", "AutoModel"}) {
    if (!map->get_object().contains(name)) continue;
    return Unsupported(fields, "auto_map",
                       fmt::format("names code of the model's own ({}), which is not run", name));
  }
  return {};
}

Status RefuseQuantised(const JsonFields& fields) {
  const json::value* quantization = fields.Find("quantization_config");
  if (quantization == nullptr) return {};
  std::string method = "unnamed";
  if (quantization->is_object()) {
    const JsonFields inner(quantization->get_object(), fields.where());
    ASSIGN_OR_RETURN(method, inner.Or<std::string>("quant_method", method));
  }
  return Unsupported(fields, "quantization_config",
                     fmt::format("quantised weights ({}) are not supported", Quoted(method)));
}

}  // namespace

Status RefuseWhatIsNotSampled(const JsonFields& fields) { return Apply(kSamplingRules, fields); }

Status RefuseWhatIsNotComputed(const JsonFields& fields) {
  RETURN_IF_ERROR(RefuseQuantised(fields));
  RETURN_IF_ERROR(RefuseOwnCode(fields));
  RETURN_IF_ERROR(Apply(kModelRules, fields));
  ASSIGN_OR_RETURN(const std::string activation, fields.Or<std::string>("hidden_act", "silu"));
  if (activation != "silu" && activation != "swish") {
    return Unsupported(fields, "hidden_act",
                       fmt::format("{} is not supported, only silu", Quoted(activation)));
  }
  return {};
}

}  // namespace lorry::formats
