#include "text/tokenizer.h"

#include <algorithm>
#include <array>
#include <boost/json/object.hpp>
#include <boost/json/serialize.hpp>
#include <optional>
#include <utility>

#include "formats/file_bytes.h"
#include "formats/file_kind.h"
#include "formats/json.h"
#include "text/detokenizer.h"

namespace lorry::text {
namespace {

constexpr size_t kMaxTokenizerBytes = size_t{256} << 20;
constexpr size_t kMaxConfigBytes = size_t{16} << 20;
constexpr size_t kMaxTextBytes = size_t{64} << 20;

// A token is written as its text, or as an object with its flags.
Result<std::string> TokenText(const formats::JsonFields& fields, std::string_view key,
                              const boost::json::value& value) {
  if (const auto* text = value.if_string()) return std::string(*text);
  const auto* object = value.if_object();
  const auto* content = object != nullptr ? object->if_contains("content") : nullptr;
  if (content == nullptr || !content->is_string()) {
    return fields.FieldError(key, "is neither a string nor an object with a \"content\"");
  }
  return std::string(content->get_string());
}

Status ReadSpecialTokens(const formats::JsonFields& fields, SpecialTokens* tokens) {
  const std::pair<const char*, std::string*> roles[] = {{"bos_token", &tokens->bos},
                                                        {"eos_token", &tokens->eos},
                                                        {"unk_token", &tokens->unk},
                                                        {"pad_token", &tokens->pad}};
  for (const auto& [key, token] : roles) {
    const boost::json::value* value = fields.Find(key);
    if (value == nullptr || !token->empty()) continue;
    ASSIGN_OR_RETURN(*token, TokenText(fields, key, *value));
  }
  constexpr std::string_view kAdditional = "additional_special_tokens";
  const boost::json::value* additional = fields.Find(kAdditional);
  if (additional == nullptr || !tokens->additional.empty()) return {};
  const auto* list = additional->if_array();
  if (list == nullptr) return fields.FieldError(kAdditional, "is not a list");
  for (const boost::json::value& value : *list) {
    ASSIGN_OR_RETURN(std::string text, TokenText(fields, kAdditional, value));
    tokens->additional.push_back(std::move(text));
  }
  return {};
}

// The classes of transformers that make their post-processor anew from add_bos_token.
bool ObeysAddBosToken(std::string_view tokenizer_class) {
  constexpr std::array<std::string_view, 5> kClasses = {"Llama", "CodeLlama", "Gemma", "Cohere",
                                                        "PreTrained"};
  return std::any_of(kClasses.begin(), kClasses.end(),
                     [&](std::string_view name) { return tokenizer_class.starts_with(name); });
}

}  // namespace

Result<Tokenizer> Tokenizer::Load(const std::string& dir) {
  const std::string path = dir + "/tokenizer.json";
  ASSIGN_OR_RETURN(const std::string json, formats::ReadSmallFile(path, kMaxTokenizerBytes));
  if (const std::string kind = formats::KindOf(json); !kind.empty()) {
    return Fail(ErrorCode::kInvalidArgument, fmt::format("{}: {}", path, kind));
  }
  ASSIGN_OR_RETURN(const std::optional<std::string> config,
                   formats::ReadFileIfThere(dir + "/tokenizer_config.json", kMaxConfigBytes));
  ASSIGN_OR_RETURN(Tokenizer tokenizer, FromJson(json, config.value_or(""), path));

  // Older models name their tokens only here.
  const std::string map_path = dir + "/special_tokens_map.json";
  ASSIGN_OR_RETURN(const boost::json::object map,
                   formats::ReadJsonIfThere(map_path, {.max_bytes = kMaxConfigBytes}));
  RETURN_IF_ERROR(ReadSpecialTokens({map, map_path}, &tokenizer.special_tokens_));
  RETURN_IF_ERROR(tokenizer.FindSpecialIds());
  return tokenizer;
}

Result<Tokenizer> Tokenizer::FromJson(std::string_view tokenizer_json,
                                      std::string_view tokenizer_config_json,
                                      std::string_view where, TextBackend& backend) {
  boost::json::object config;
  const std::string config_where = fmt::format("{} with tokenizer_config.json", where);
  if (!tokenizer_config_json.empty()) {
    ASSIGN_OR_RETURN(config, formats::ParseJsonObject(tokenizer_config_json, config_where));
  }
  const formats::JsonFields fields(config, config_where);
  std::string more_tokens;
  if (const auto* decoder = fields.Find("added_tokens_decoder")) {
    more_tokens = boost::json::serialize(*decoder);
  }

  auto made = backend.NewTokenizer(tokenizer_json, more_tokens);
  if (!made) {
    // The library gives up on some files; it is the file that is at fault.
    if (made.error().code == ErrorCode::kInternal) made.error().code = ErrorCode::kInvalidArgument;
    return Annotate(std::move(made.error()), where);
  }
  Tokenizer tokenizer;
  tokenizer.backend_ = std::move(*made);
  tokenizer.vocab_ = tokenizer.backend_->vocab();
  RETURN_IF_ERROR(tokenizer.ReadConfig(fields));
  return tokenizer;
}

Result<Tokenizer> Tokenizer::WithConfig(const formats::JsonFields& config) const {
  Tokenizer tokenizer = *this;
  RETURN_IF_ERROR(tokenizer.ReadConfig(config));
  return tokenizer;
}

Status Tokenizer::ReadConfig(const formats::JsonFields& config) {
  special_tokens_ = {};
  prepend_bos_ = drop_bos_ = false;
  RETURN_IF_ERROR(ReadSpecialTokens(config, &special_tokens_));
  RETURN_IF_ERROR(FindSpecialIds());
  return ReadAddBosToken(config);
}

Status Tokenizer::FindSpecialIds() {
  bos_id_ = eos_id_ = std::nullopt;
  if (!special_tokens_.bos.empty()) {
    ASSIGN_OR_RETURN(bos_id_, Find(special_tokens_.bos));
  }
  if (!special_tokens_.eos.empty()) {
    ASSIGN_OR_RETURN(eos_id_, Find(special_tokens_.eos));
  }
  return {};
}

Status Tokenizer::ReadAddBosToken(const formats::JsonFields& config) {
  ASSIGN_OR_RETURN(const std::optional<bool> add_bos, config.Optional<bool>("add_bos_token"));
  ASSIGN_OR_RETURN(const std::string tokenizer_class,
                   config.Or<std::string>("tokenizer_class", ""));
  if (!add_bos || !bos_id_ || !ObeysAddBosToken(tokenizer_class)) return {};
  ASSIGN_OR_RETURN(const std::vector<TokenId> empty_text, Encode(""));
  const bool adds_bos = !empty_text.empty() && empty_text.front() == *bos_id_;
  prepend_bos_ = *add_bos && !adds_bos;
  drop_bos_ = !*add_bos && adds_bos;
  return {};
}

Result<std::vector<TokenId>> Tokenizer::Encode(std::string_view text,
                                               const EncodeOptions& options) const {
  if (text.size() > kMaxTextBytes) {
    return Fail(ErrorCode::kTooLarge, fmt::format("the text has {} bytes; the limit is {} MiB",
                                                  text.size(), kMaxTextBytes >> 20));
  }
  const uint32_t flags = (options.add_special_tokens ? TK_ADD_SPECIAL : 0) |
                         (options.parse_special_tokens ? TK_PARSE_SPECIAL : 0);
  std::vector<TokenId> ids;
  if (prepend_bos_ && options.add_special_tokens) ids.push_back(*bos_id_);
  RETURN_IF_ERROR(backend_->Encode(text, flags, &ids));
  if (drop_bos_ && options.add_special_tokens && !ids.empty()) ids.erase(ids.begin());
  return ids;
}

Result<std::vector<TokenId>> Tokenizer::EncodeRendering(const Rendering& rendering) const {
  std::vector<TokenId> ids;
  if (rendering.has_typed) {
    RETURN_IF_ERROR(backend_->EncodeTyped(rendering.text, rendering.typed, &ids));
  } else {
    RETURN_IF_ERROR(backend_->Encode(rendering.text, TK_PARSE_SPECIAL, &ids));
  }
  return ids;
}

std::string Tokenizer::Decode(std::span<const TokenId> ids, const DecodeOptions& options) const {
  std::string text;
  Detokenizer detokenizer(*this, options);
  for (const TokenId id : ids) detokenizer.Push(id, &text);
  detokenizer.Flush(&text);
  return text;
}

std::string_view Tokenizer::TokenBytes(TokenId id) const {
  if (id < 0 || id >= vocab_size()) return {};
  const uint32_t begin = vocab_.offsets[id];
  return {reinterpret_cast<const char*>(vocab_.bytes) + begin, vocab_.offsets[id + 1] - begin};
}

uint8_t Tokenizer::Flags(TokenId id) const {
  return id < 0 || id >= vocab_size() ? 0 : vocab_.flags[id];
}

bool Tokenizer::Exists(TokenId id) const { return Flags(id) & TK_TOKEN_EXISTS; }
bool Tokenizer::IsSpecial(TokenId id) const { return Flags(id) & TK_TOKEN_SPECIAL; }
int32_t Tokenizer::vocab_size() const { return static_cast<int32_t>(vocab_.size); }
bool Tokenizer::strips_leading_space() const { return vocab_.strip_space != 0; }

Result<std::optional<TokenId>> Tokenizer::Find(std::string_view name) const {
  return backend_->Find(name);
}

}  // namespace lorry::text
