#include "api/openai/context_length.h"

#include <algorithm>

namespace lorry::api::openai {

Result<int> ResolveMaxTokens(const ContextUse& use) {
  if (use.prompt_tokens == 0) {
    return Fail(ErrorCode::kInvalidArgument,
                fmt::format("'{}' has no tokens; at least one is needed.", use.param),
                std::string(use.param));
  }
  const auto prompt = static_cast<int64_t>(use.prompt_tokens);
  const int64_t room = use.max_model_len - prompt;
  const int64_t asked = use.requested_tokens.value_or(1);
  if (asked > room) {
    const std::string needs =
        use.requested_tokens
            ? fmt::format("you requested {} tokens ({} in the {}, {} in the completion)",
                          prompt + asked, prompt, use.param, asked)
            : fmt::format("your {} resulted in {} tokens, which leaves no room for the completion",
                          use.param, prompt);
    return Fail(ErrorCode::kTooLarge,
                fmt::format("This model's maximum context length is {} tokens. However, {}. Please "
                            "reduce the length of the {}{}.",
                            use.max_model_len, needs, use.param,
                            use.requested_tokens ? " or completion" : ""),
                std::string(use.param));
  }
  if (use.requested_tokens) return *use.requested_tokens;
  return static_cast<int>(std::min<int64_t>(use.default_tokens.value_or(use.max_model_len), room));
}

}  // namespace lorry::api::openai
