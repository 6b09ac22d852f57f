#include "text/chat_template.h"

#include <boost/json/object.hpp>
#include <boost/json/serialize.hpp>
#include <boost/json/value_from.hpp>
#include <utility>

#include "formats/chat_template_files.h"
#include "formats/file_bytes.h"
#include "formats/json.h"

namespace lorry::text {
namespace {

static_assert(formats::kMaxChatTemplateBytes == TK_MAX_TEMPLATE_BYTES);
constexpr size_t kMaxConfigBytes = size_t{16} << 20;

// The variables that transformers gives to every template. Templates add BOS and EOS to texts, so
// they are there even if the model has none.
std::string TokenVariables(const SpecialTokens& tokens) {
  boost::json::object variables = {{"bos_token", tokens.bos}, {"eos_token", tokens.eos}};
  if (!tokens.unk.empty()) variables["unk_token"] = tokens.unk;
  if (!tokens.pad.empty()) variables["pad_token"] = tokens.pad;
  if (!tokens.additional.empty()) {
    variables["additional_special_tokens"] = boost::json::value_from(tokens.additional);
  }
  return boost::json::serialize(variables);
}

}  // namespace

Result<ChatTemplate> ChatTemplate::Load(const std::string& dir, const Tokenizer& tokenizer,
                                        const std::string& file, const ChatTemplateLimits& limits) {
  formats::ChatTemplates templates;
  if (!file.empty()) {
    templates.where = file;
    ASSIGN_OR_RETURN(templates.main, formats::ReadSmallFile(file, formats::kMaxChatTemplateBytes));
  } else {
    ASSIGN_OR_RETURN(
        const boost::json::object config,
        formats::ReadJsonIfThere(dir + "/tokenizer_config.json", {.max_bytes = kMaxConfigBytes}));
    ASSIGN_OR_RETURN(templates, formats::ReadChatTemplates(dir, config));
  }
  if (templates.main.empty()) {
    return Fail(ErrorCode::kNotFound,
                fmt::format("the model in {} has no chat template (neither chat_template.jinja nor "
                            "\"chat_template\" in tokenizer_config.json); give one with "
                            "--chat-template FILE, or use /v1/completions",
                            dir));
  }
  return Compile({.main = std::move(templates.main),
                  .tool_use = std::move(templates.tool_use),
                  .where = std::move(templates.where),
                  .tool_use_where = std::move(templates.tool_use_where),
                  .limits = limits},
                 tokenizer.special_tokens(), nullptr, InProcess());
}

Result<ChatTemplate> ChatTemplate::FromSource(std::string_view source,
                                              const SpecialTokens& special_tokens,
                                              std::string_view where,
                                              const ChatTemplateLimits& limits) {
  return Compile({.main = std::string(source), .where = std::string(where), .limits = limits},
                 special_tokens, nullptr, InProcess());
}

Result<ChatTemplate> ChatTemplate::FromFields(const formats::JsonFields& fields,
                                              const Tokenizer& tokenizer, TextBackend& backend) {
  ASSIGN_OR_RETURN(formats::ChatTemplates sources, formats::ParseChatTemplates(fields));
  if (sources.main.empty()) {
    return fields.FieldError("chat_template", "has no default template");
  }
  return Compile({.main = std::move(sources.main),
                  .tool_use = std::move(sources.tool_use),
                  .where = fields.where()},
                 tokenizer.special_tokens(), &tokenizer.backend(), backend);
}

Result<ChatTemplate> ChatTemplate::WithTokens(const Tokenizer& tokenizer,
                                              TextBackend& backend) const {
  return Compile(*origin_, tokenizer.special_tokens(), &tokenizer.backend(), backend);
}

Result<ChatTemplate> ChatTemplate::Compile(Origin origin, const SpecialTokens& special_tokens,
                                           const TokenizerBackend* tokens, TextBackend& backend) {
  const std::string variables = TokenVariables(special_tokens);
  const tk_limits limits = {.base_steps = origin.limits.base_steps,
                            .steps_per_message = origin.limits.steps_per_message,
                            .max_steps = origin.limits.max_steps,
                            .max_output_bytes = origin.limits.max_output_bytes};
  const auto compile = [&](const std::string& source, const std::string& where) -> Result<Handle> {
    auto made = backend.NewTemplate(source, variables, limits, tokens);
    if (!made) return Annotate(std::move(made.error()), where);
    return made;
  };
  ChatTemplate result;
  ASSIGN_OR_RETURN(result.default_, compile(origin.main, origin.where));
  if (!origin.tool_use.empty()) {
    const std::string& where = origin.tool_use_where;
    ASSIGN_OR_RETURN(result.tool_use_,
                     compile(origin.tool_use, where.empty() ? origin.where : where));
  }
  result.origin_ = std::make_shared<const Origin>(std::move(origin));
  return result;
}

const TemplateBackend& ChatTemplate::For(const Chat& chat) const {
  return tool_use_ != nullptr && !chat.tools_json.empty() ? *tool_use_ : *default_;
}

Result<std::string> ChatTemplate::Render(const Chat& chat) const {
  ASSIGN_OR_RETURN(Rendering rendering, For(chat).Render(chat, nullptr));
  return std::move(rendering.text);
}

Result<RenderedChat> ChatTemplate::RenderAndEncode(const Chat& chat,
                                                   const Tokenizer& tokenizer) const {
  const TokenizerBackend* tokens = chat.guard_special_tokens ? &tokenizer.backend() : nullptr;
  ASSIGN_OR_RETURN(Rendering rendering, For(chat).Render(chat, tokens));
  if (rendering.text.size() > chat.max_rendered_bytes) {
    return Fail(ErrorCode::kTooLarge,
                fmt::format("The chat template wrote {} bytes of text; the limit is {}.",
                            rendering.text.size(), chat.max_rendered_bytes),
                "messages");
  }
  ASSIGN_OR_RETURN(std::vector<TokenId> ids, tokenizer.EncodeRendering(rendering));
  return RenderedChat{.text = std::move(rendering.text), .ids = std::move(ids)};
}

}  // namespace lorry::text
