#include <fmt/format.h>

#include <span>

#include "api/openai/parse.h"

namespace lorry::api::openai {
namespace {

Status CheckList(std::span<const TokenId> ids, std::string_view name, int vocab_size) {
  for (size_t i = 0; i < ids.size(); ++i) {
    if (ids[i] < vocab_size) continue;
    const std::string field = fmt::format("{}[{}]", name, i);
    return Fail(
        ErrorCode::kInvalidArgument,
        fmt::format("'{}' must be a token id from 0 to {}, not {}.", field, vocab_size - 1, ids[i]),
        field);
  }
  return {};
}

Status CheckCommon(const CommonRequest& request, int vocab_size) {
  for (const auto& [token, bias] : request.sampling.logit_bias) {
    if (token < vocab_size) continue;
    return Fail(ErrorCode::kInvalidArgument,
                fmt::format("The keys of 'logit_bias' must be token ids from 0 to {}, not '{}'.",
                            vocab_size - 1, token),
                "logit_bias");
  }
  return CheckList(request.sampling.stop_token_ids, "stop_token_ids", vocab_size);
}

}  // namespace

Status CheckTokenIds(const CompletionRequest& request, int vocab_size) {
  for (size_t i = 0; i < request.prompts.size(); ++i) {
    const auto* ids = std::get_if<std::vector<TokenId>>(&request.prompts[i]);
    if (ids == nullptr) continue;
    const std::string name = request.has_prompt_list ? fmt::format("prompt[{}]", i) : "prompt";
    RETURN_IF_ERROR(CheckList(*ids, name, vocab_size));
  }
  return CheckCommon(request, vocab_size);
}

Status CheckTokenIds(const ChatRequest& request, int vocab_size) {
  return CheckCommon(request, vocab_size);
}

Status CheckTokenIds(const DetokenizeRequest& request, int vocab_size) {
  return CheckList(request.tokens, "tokens", vocab_size);
}

}  // namespace lorry::api::openai
