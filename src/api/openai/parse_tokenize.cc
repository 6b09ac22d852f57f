#include <limits>

#include "api/openai/parse_common.h"

namespace lorry::api::openai {

namespace json = boost::json;

Result<TokenizeRequest> ParseTokenize(std::string_view body, const ParseLimits& limits) {
  ASSIGN_OR_RETURN(const json::object object, ParseBody(body, limits.json));
  FieldReader fields(object);
  TokenizeRequest request;
  ReadModel(fields, request);
  fields.Bool("return_token_strs", request.return_token_strings);
  if (fields.Find("messages") != nullptr) {
    ChatPrompt chat;
    ReadChatPrompt(fields, limits, chat);
    request.input = std::move(chat);
  } else if (fields.Find("prompt") != nullptr) {
    std::string prompt;
    fields.String("prompt", prompt);
    fields.Bool("add_special_tokens", request.add_special_tokens);
    request.input = std::move(prompt);
  } else {
    fields.Fail(ErrorCode::kInvalidArgument, "prompt", "'prompt' or 'messages' must be given.");
  }
  fields.RefuseMisspelt();
  RETURN_IF_ERROR(fields.status());
  return request;
}

Result<DetokenizeRequest> ParseDetokenize(std::string_view body, const ParseLimits& limits) {
  ASSIGN_OR_RETURN(const json::object object, ParseBody(body, limits.json));
  FieldReader fields(object);
  DetokenizeRequest request;
  ReadModel(fields, request);
  const json::value* tokens = fields.Find("tokens");
  ReadTokenIds(fields, "tokens", tokens == nullptr ? json::value() : *tokens,
               std::numeric_limits<size_t>::max(), request.tokens);
  fields.RefuseMisspelt();
  RETURN_IF_ERROR(fields.status());
  return request;
}

}  // namespace lorry::api::openai
