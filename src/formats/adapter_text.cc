#include "formats/adapter_text.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

#include <array>
#include <boost/json/array.hpp>
#include <boost/json/serialize.hpp>
#include <filesystem>
#include <optional>

#include "formats/file_bytes.h"
#include "formats/json.h"
#include "formats/token_ids.h"

namespace lorry::formats {
namespace {

namespace fs = std::filesystem;
namespace json = boost::json;

constexpr std::array<std::string_view, 4> kRoles = {"bos_token", "eos_token", "unk_token",
                                                    "pad_token"};
constexpr JsonLimits kConfigLimits = {.max_bytes = kMaxAdapterConfigBytes};
constexpr size_t kMaxBaseTokenizerBytes = size_t{256} << 20;
constexpr std::string_view kAdditional = "additional_special_tokens";
constexpr std::string_view kAddedTokens = "added_tokens_decoder";

const json::value* FindValue(const json::object& object, std::string_view key) {
  const json::value* value = object.if_contains(key);
  return value == nullptr || value->is_null() ? nullptr : value;
}

// A token is written as its text or as an object with its flags, of which only the text matters
// where it is named by its role.
json::value TokenName(const json::value& token) {
  const json::object* object = token.if_object();
  const json::value* content = object == nullptr ? nullptr : FindValue(*object, "content");
  return content == nullptr ? token : *content;
}

void CopyRoles(const json::object& from, json::object& to) {
  for (const std::string_view role : kRoles) {
    const json::value* token = FindValue(from, role);
    if (token != nullptr && !to.contains(role)) to[role] = TokenName(*token);
  }
  const json::value* additional = FindValue(from, kAdditional);
  if (additional == nullptr || to.contains(kAdditional)) return;
  json::value names = *additional;
  if (json::array* list = names.if_array()) {
    if (list->empty()) return;
    for (json::value& token : *list) token = TokenName(token);
  }
  to[kAdditional] = std::move(names);
}

// Of tokenizer_config.json and special_tokens_map.json what text/tokenizer.h reads.
json::object TokenizerFields(const json::object& config, const json::object& map) {
  json::object fields;
  CopyRoles(config, fields);
  CopyRoles(map, fields);
  if (const json::value* added = FindValue(config, kAddedTokens)) fields[kAddedTokens] = *added;
  const json::value* add_bos = FindValue(config, "add_bos_token");
  if (add_bos == nullptr) return fields;
  fields["add_bos_token"] = *add_bos;  // the class decides whether it counts, and for nothing else
  if (const json::value* name = FindValue(config, "tokenizer_class"); name && name->is_string()) {
    std::string_view text = name->get_string();
    if (text.ends_with("Fast")) text.remove_suffix(4);
    fields["tokenizer_class"] = text;
  }
  return fields;
}

Result<TextFields> ReadTextFields(const std::string& dir) {
  TextFields fields;
  ASSIGN_OR_RETURN(const json::object config,
                   ReadJsonIfThere(dir + "/tokenizer_config.json", kConfigLimits));
  ASSIGN_OR_RETURN(const json::object map,
                   ReadJsonIfThere(dir + "/special_tokens_map.json", kConfigLimits));
  fields.tokenizer = TokenizerFields(config, map);
  ASSIGN_OR_RETURN(fields.chat_templates, ReadChatTemplates(dir, config));
  const std::string generation_path = dir + "/generation_config.json";
  ASSIGN_OR_RETURN(const json::object generation, ReadJsonIfThere(generation_path, kConfigLimits));
  ASSIGN_OR_RETURN(const std::vector<TokenId> eos,
                   ParseTokenIds({generation, generation_path}, "eos_token_id"));
  for (const TokenId id : eos) fields.eos_token_id.emplace_back(id);
  return fields;
}

// added_tokens.json, {content: id}, which older tokenizers wrote instead of tokenizer.json.
Status AddTokens(const json::object& added, const std::string& where, json::object& fields) {
  if (added.empty()) return {};
  json::object decoder;
  if (const json::value* known = FindValue(fields, kAddedTokens); known && known->is_object()) {
    decoder = known->get_object();
  }
  for (const auto& [content, id] : added) {
    if (!id.is_int64() || id.get_int64() < 0) {
      return JsonFields(added, where).FieldError(content, "is not a token id");
    }
    const std::string key = fmt::format("{}", id.get_int64());
    if (decoder.contains(key)) continue;
    decoder[key] = {{"content", content}, {"normalized", true}, {"special", false}};
  }
  fields[kAddedTokens] = std::move(decoder);
  return {};
}

// The tokens that tokenizer_config.json adds to a tokenizer.json.
json::object AddedTo(const TokenizerDigest& tokenizer, const TextFields& fields) {
  json::object added;
  const json::value* more = FindValue(fields.tokenizer, kAddedTokens);
  if (const json::object* decoder = more == nullptr ? nullptr : more->if_object()) {
    for (const auto& [id, token] : *decoder) {
      const json::value name = TokenName(token);
      if (!name.is_string() || !tokenizer.HasAdded(name.get_string())) added[id] = token;
    }
  }
  return added;
}

json::object WithoutAddedTokens(json::object fields) {
  fields.erase(kAddedTokens);
  return fields;
}

}  // namespace

Result<BaseText> BaseText::Read(const std::string& model_dir) {
  const std::string path = model_dir + "/tokenizer.json";
  ASSIGN_OR_RETURN(std::string tokenizer_json, ReadSmallFile(path, kMaxBaseTokenizerBytes));
  ASSIGN_OR_RETURN(TokenizerDigest tokenizer, DigestTokenizer(tokenizer_json, path));
  ASSIGN_OR_RETURN(TextFields fields, ReadTextFields(model_dir));
  return BaseText(std::move(tokenizer_json), std::move(tokenizer), std::move(fields));
}

BaseText::BaseText(std::string tokenizer_json, TokenizerDigest tokenizer, TextFields fields)
    : tokenizer_json_(std::move(tokenizer_json)),
      tokenizer_(std::move(tokenizer)),
      fields_(std::move(fields)) {
  const std::string others = json::serialize(
      json::array{fields_.tokenizer, ToJson(fields_.chat_templates), fields_.eos_token_id});
  digest_ = XXH3_64bits_withSeed(others.data(), others.size(),
                                 XXH3_64bits(tokenizer_json_.data(), tokenizer_json_.size()));
}

Result<bool> BaseText::HasSameTokens(std::string_view tokenizer_json, const TextFields& fields,
                                     const std::string& adapter_dir) const {
  const auto added_of = [](const TextFields& of) {
    const json::value* added = FindValue(of.tokenizer, kAddedTokens);
    return added == nullptr ? json::value() : *added;
  };
  if (tokenizer_json == tokenizer_json_ && added_of(fields) == added_of(fields_)) {
    return true;
  }
  ASSIGN_OR_RETURN(const TokenizerDigest own,
                   DigestTokenizer(tokenizer_json, adapter_dir + "/tokenizer.json"));
  return own.value == tokenizer_.value && AddedTo(own, fields) == AddedTo(tokenizer_, fields_);
}

// What the adapter's tokenizer is made of where its directory does not say: the base's.
Status BaseText::FillUp(const std::string& adapter_dir, bool has_tokenizer,
                        TextFields& fields) const {
  std::error_code ignored;
  if (has_tokenizer && fs::exists(adapter_dir + "/tokenizer_config.json", ignored)) return {};
  for (const auto& [key, value] : fields_.tokenizer) {
    if (!fields.tokenizer.contains(key)) fields.tokenizer[key] = value;
  }
  if (has_tokenizer) return {};
  const std::string path = adapter_dir + "/added_tokens.json";
  ASSIGN_OR_RETURN(const json::object added, ReadJsonIfThere(path, kConfigLimits));
  return AddTokens(added, path, fields.tokenizer);
}

Result<AdapterText> BaseText::ReadOwnText(const std::string& adapter_dir) const {
  ASSIGN_OR_RETURN(TextFields fields, ReadTextFields(adapter_dir));
  ASSIGN_OR_RETURN(const auto own_json,
                   ReadFileIfThere(adapter_dir + "/tokenizer.json", kMaxAdapterTokenizerBytes));
  RETURN_IF_ERROR(FillUp(adapter_dir, own_json.has_value(), fields));
  const std::string_view json = own_json ? *own_json : tokenizer_json_;
  ASSIGN_OR_RETURN(const bool same_tokens, HasSameTokens(json, fields, adapter_dir));
  AdapterText text;
  json::object config;
  if (!same_tokens) {
    text.tokenizer_json = json;
    config["tokenizer"] = fields.tokenizer;
  } else if (const auto roles = WithoutAddedTokens(fields.tokenizer);
             roles != WithoutAddedTokens(fields_.tokenizer)) {
    config["tokenizer"] = roles;
  }
  ChatTemplates& own = fields.chat_templates;
  // One for tools alone stands beside the base's for all other chats.
  if (!own.empty() && own.main.empty()) own.main = fields_.chat_templates.main;
  if (!own.empty() && own != fields_.chat_templates) config["chat_template"] = ToJson(own);
  if (!fields.eos_token_id.empty() && fields.eos_token_id != fields_.eos_token_id) {
    config["eos_token_id"] = fields.eos_token_id;
  }
  if (!config.empty()) text.config_json = json::serialize(config);
  return text;
}

Result<AdapterText> BaseText::OwnTextOf(const std::string& adapter_dir) const {
  Result<AdapterText> text = ReadOwnText(adapter_dir);
  if (text) return text;
  // What cannot be read is the adapter's fault, whatever the reading called it.
  Error error = std::move(text.error());
  if (error.code == ErrorCode::kTooLarge) {
    error.param = "source";
  } else {
    error.code = ErrorCode::kUnfit;
  }
  return tl::unexpected<Error>(std::move(error));
}

}  // namespace lorry::formats
