#include <limits>

#include "api/openai/parse_common.h"

namespace lorry::api::openai {
namespace {

namespace json = boost::json;

constexpr std::string_view kPromptForms =
    "a string, a list of strings, a list of token ids or a list of such lists";

std::string TextOf(const json::value& value) {
  return {value.get_string().data(), value.get_string().size()};
}

void ReadPrompts(FieldReader& fields, CompletionRequest& request) {
  std::vector<Prompt>& prompts = request.prompts;
  constexpr size_t kAnyCount = std::numeric_limits<size_t>::max();  // the body's size bounds it
  const json::value* value = fields.Find("prompt");
  if (value == nullptr) {
    return fields.Fail(ErrorCode::kInvalidArgument, "prompt",
                       fmt::format("'prompt' is missing; it is {}.", kPromptForms));
  }
  if (value->is_string()) return void(prompts.emplace_back(TextOf(*value)));
  if (!value->is_array() || value->get_array().empty()) {
    return fields.Wrong("prompt", kPromptForms, *value);
  }
  const json::array& items = value->get_array();
  if (items[0].is_number()) {
    std::vector<TokenId> tokens;
    ReadTokenIds(fields, "prompt", *value, kAnyCount, tokens);
    return void(prompts.emplace_back(std::move(tokens)));
  }
  request.has_prompt_list = true;
  for (size_t i = 0; i < items.size() && fields.ok(); ++i) {
    const std::string name = fmt::format("prompt[{}]", i);
    if (items[i].kind() != items[0].kind()) {
      return fields.Wrong(name, "of the same kind as the first prompt", items[i]);
    }
    if (items[i].is_string()) {
      prompts.emplace_back(TextOf(items[i]));
      continue;
    }
    if (!items[i].is_array())
      return fields.Wrong(name, "a string or a list of token ids", items[i]);
    std::vector<TokenId> tokens;
    ReadTokenIds(fields, name, items[i], kAnyCount, tokens);
    prompts.emplace_back(std::move(tokens));
  }
}

void ReadBestOf(FieldReader& fields, int n) {
  std::optional<int> best_of;
  fields.Int("best_of", {1, std::numeric_limits<int>::max()}, best_of);
  if (best_of && *best_of != n) {
    fields.Fail(
        ErrorCode::kUnsupported, "best_of",
        fmt::format("'best_of' {} is not supported; it must equal 'n', which is {}.", *best_of, n));
  }
}

void ReadLogprobs(FieldReader& fields, const ParseLimits& limits, CompletionRequest& request) {
  std::optional<int> logprobs;
  fields.Int("logprobs", {0, limits.max_logprobs}, logprobs);
  if (!logprobs) return;
  request.sampling.num_logprobs = *logprobs;
  request.sampling.prompt_logprobs = request.echo;
}

}  // namespace

Result<CompletionRequest> ParseCompletion(std::string_view body, const ParseLimits& limits) {
  ASSIGN_OR_RETURN(const json::object object, ParseBody(body, limits.json));
  FieldReader fields(object);
  CompletionRequest request;
  ReadPrompts(fields, request);
  fields.Bool("echo", request.echo);
  fields.Bool("add_special_tokens", request.add_special_tokens);
  ReadCommon(fields, limits, request);
  // With echo, no new tokens may be asked for: that scores the prompt.
  const int least = request.echo ? 0 : 1;
  fields.Int("max_tokens", {least, std::numeric_limits<int>::max()}, request.max_tokens);
  ReadMinTokens(fields, request);
  ReadLogprobs(fields, limits, request);
  ReadBestOf(fields, request.n);
  RefuseUnsupported(fields, {{"suffix", ""}});
  const size_t num_sequences = request.prompts.size() * static_cast<size_t>(request.n);
  if (num_sequences > static_cast<size_t>(limits.max_sequences)) {
    fields.Fail(
        ErrorCode::kInvalidArgument, "prompt",
        fmt::format("{} prompts times 'n' {} are {} sequences; the limit is {}.",
                    request.prompts.size(), request.n, num_sequences, limits.max_sequences));
  }
  fields.RefuseMisspelt();
  RETURN_IF_ERROR(fields.status());
  return request;
}

}  // namespace lorry::api::openai
