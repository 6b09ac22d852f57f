#include "text/model_text.h"

#include <algorithm>
#include <boost/json/object.hpp>
#include <boost/json/serialize.hpp>

#include "formats/json.h"
#include "formats/token_ids.h"

namespace lorry::text {
namespace {

namespace json = boost::json;

// Null: the config leaves the base's.
Result<std::optional<Tokenizer>> MakeTokenizer(const Tokenizer& base,
                                               std::string_view tokenizer_json,
                                               const formats::JsonFields& config,
                                               TextBackend& backend) {
  const json::value* fields = config.Find("tokenizer");
  const json::object* object = fields == nullptr ? nullptr : fields->if_object();
  if (!tokenizer_json.empty()) {
    const std::string text = object == nullptr ? "" : json::serialize(*object);
    ASSIGN_OR_RETURN(Tokenizer tokenizer,
                     Tokenizer::FromJson(tokenizer_json, text, "tokenizer.json", backend));
    return std::optional(std::move(tokenizer));
  }
  if (object == nullptr) return std::optional<Tokenizer>();
  ASSIGN_OR_RETURN(Tokenizer tokenizer, base.WithConfig({*object, "tokenizer_config.json"}));
  return std::optional(std::move(tokenizer));
}

Result<std::optional<ChatTemplate>> MakeTemplate(const ModelText& base,
                                                 const std::optional<Tokenizer>& own,
                                                 const formats::JsonFields& config,
                                                 TextBackend& backend) {
  const Tokenizer& tokenizer = own ? *own : base.tokenizer;
  if (config.Find("chat_template") != nullptr) {
    ASSIGN_OR_RETURN(ChatTemplate made, ChatTemplate::FromFields(config, tokenizer, backend));
    return std::optional(std::move(made));
  }
  if (!own || !base.chat_template) return base.chat_template;
  ASSIGN_OR_RETURN(ChatTemplate made, base.chat_template->WithTokens(tokenizer, backend));
  return std::optional(std::move(made));
}

Result<std::shared_ptr<const ModelText>> Change(const ModelText& base,
                                                std::string_view tokenizer_json,
                                                std::string_view config_json,
                                                TextBackend& backend) {
  json::object object;
  if (!config_json.empty()) {
    ASSIGN_OR_RETURN(object, formats::ParseJsonObject(config_json, "text"));
  }
  const formats::JsonFields config(object, "chat template");
  ASSIGN_OR_RETURN(std::optional<Tokenizer> own,
                   MakeTokenizer(base.tokenizer, tokenizer_json, config, backend));
  ASSIGN_OR_RETURN(std::optional<ChatTemplate> chat_template,
                   MakeTemplate(base, own, config, backend));
  ASSIGN_OR_RETURN(std::vector<TokenId> eos_ids, formats::ParseTokenIds(config, "eos_token_id"));
  if (own && own->eos_id()) eos_ids.push_back(*own->eos_id());
  auto text =
      std::make_shared<ModelText>(own ? std::move(*own) : base.tokenizer, std::move(chat_template));
  text->eos_ids = std::move(eos_ids);
  return std::shared_ptr<const ModelText>(std::move(text));
}

}  // namespace

ModelText::ModelText(Tokenizer of_model, std::optional<ChatTemplate> of_chats)
    : tokenizer(std::move(of_model)), chat_template(std::move(of_chats)) {
  for (TokenId id = 0; id < tokenizer.vocab_size(); ++id) {
    max_token_bytes = std::max(max_token_bytes, tokenizer.TokenBytes(id).size());
  }
}

Result<std::shared_ptr<const ModelText>> LoadModelText(const std::string& dir,
                                                       const std::string& chat_template_file) {
  ASSIGN_OR_RETURN(Tokenizer tokenizer, Tokenizer::Load(dir));
  auto loaded = ChatTemplate::Load(dir, tokenizer, chat_template_file);
  std::optional<ChatTemplate> chat_template;
  if (loaded) {
    chat_template = std::move(*loaded);
  } else if (loaded.error().code != ErrorCode::kNotFound || !chat_template_file.empty()) {
    return tl::unexpected<Error>(std::move(loaded.error()));
  }
  return std::make_shared<const ModelText>(std::move(tokenizer), std::move(chat_template));
}

Result<std::shared_ptr<const ModelText>> ChangeText(const ModelText& base,
                                                    std::string_view tokenizer_json,
                                                    std::string_view config_json,
                                                    TextBackend& backend) {
  auto text = Change(base, tokenizer_json, config_json, backend);
  if (text) return text;
  // That there is no worker to ask is not the adapter's fault.
  const ErrorCode code = text.error().code;
  if (code != ErrorCode::kUnavailable && code != ErrorCode::kResourceExhausted) {
    text.error().code = ErrorCode::kUnfit;
  }
  return text;
}

}  // namespace lorry::text
