// How many tokens a request may generate, given its prompt and the model's context. In OpenAI's
// words when it may not.
#pragma once

#include <optional>
#include <string_view>

#include "base/result.h"

namespace lorry::api::openai {

struct ContextUse {
  size_t prompt_tokens = 0;
  std::optional<int> requested_tokens;  // max_tokens, if the client gave it
  std::optional<int> default_tokens;    // without it; nothing: all that there is room for
  int max_model_len = 0;                // tokens of prompt and answer together
  std::string_view param = "prompt";    // or "messages"
};

// kTooLarge (400 with code context_length_exceeded) when they do not fit; kInvalidArgument for an
// empty prompt.
Result<int> ResolveMaxTokens(const ContextUse& use);

}  // namespace lorry::api::openai
