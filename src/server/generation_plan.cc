#include "server/generation_plan.h"

#include <algorithm>
#include <limits>
#include <random>

#include "api/openai/context_length.h"
#include "api/openai/parse.h"
#include "text/text_offsets.h"

namespace lorry::server {
namespace {

using api::openai::ChatPrompt;
using api::openai::CommonRequest;
using api::openai::CompletionRequest;
using api::openai::ContextUse;

constexpr int kDefaultCompletionTokens = 16;  // OpenAI's

uint64_t RandomSeed() {
  thread_local std::mt19937_64 random((static_cast<uint64_t>(std::random_device()()) << 32) |
                                      std::random_device()());
  return random();
}

// Where the last message's text ends in the rendered chat; templates may have trimmed it.
size_t EndOfFinalContent(std::string_view rendered, std::string_view content) {
  size_t at = rendered.rfind(content);
  if (at == std::string_view::npos) {
    const size_t first = content.find_first_not_of(" \t\r\n");
    if (first == std::string_view::npos) return std::string_view::npos;
    content = content.substr(first, content.find_last_not_of(" \t\r\n") + 1 - first);
    at = rendered.rfind(content);
    if (at == std::string_view::npos) return at;
  }
  return at + content.size();
}

Status AddPrompt(const CommonRequest& request, std::vector<TokenId> tokens, ContextUse use,
                 GenerationPlan& plan) {
  use.prompt_tokens = tokens.size();
  use.requested_tokens = request.max_tokens;
  GenerateRequest generate;
  ASSIGN_OR_RETURN(const int max_tokens, ResolveMaxTokens(use));
  generate.adapters = plan.model.adapters;
  generate.prompt = std::move(tokens);
  generate.num_sequences = request.n;
  generate.sampling = request.sampling;
  generate.eos_ids = plan.text->eos_ids;
  generate.sampling.max_tokens = max_tokens;
  generate.sampling.min_tokens = std::min(request.sampling.min_tokens, max_tokens);
  plan.requests.push_back(std::move(generate));
  return {};
}

// The prompt as it was given, or as its ids read.
Echo MakeEcho(const api::openai::CompletionRequest& request, const std::string* given,
              std::span<const TokenId> tokens, const text::ModelText& text) {
  const text::DecodeOptions options = {.skip_special_tokens = request.skip_special_tokens};
  const bool has_offsets = request.sampling.prompt_logprobs;
  Echo echo;
  if (given != nullptr) {
    echo.text = *given;
    if (has_offsets) echo.offsets = text::OffsetsInText(text.tokenizer, tokens, echo.text);
  } else {
    echo.text = text.tokenizer.Decode(tokens, options);
    if (has_offsets) echo.offsets = text::OffsetsOfDecoded(text.tokenizer, tokens, options);
  }
  return echo;
}

// Tokens that a client may name: an adapter's own vocabulary is known for sure, else the tokenizer
// says.
int VocabSize(const ModelChoice& model, const text::ModelText& text) {
  const int own = model.adapters.size() == 1 ? model.adapters[0].handle->vocab_size : 0;
  return own != 0 ? own : text.tokenizer.vocab_size();
}

GenerationPlan StartPlan(CommonRequest& request, ModelChoice model, Planner::Text text) {
  GenerationPlan plan;
  plan.model = std::move(model);
  plan.text = std::move(text);
  plan.stream = request.stream;
  plan.include_usage = request.include_usage;
  plan.return_token_ids = request.return_token_ids;
  plan.skip_special_tokens = request.skip_special_tokens;
  plan.stop = std::move(request.stop);
  plan.include_stop_in_output = request.include_stop_in_output;
  // One seed for all prompts and choices: sequence i draws with (seed, i).
  request.sampling.seed = request.seed ? static_cast<uint64_t>(*request.seed) : RandomSeed();
  return plan;
}

Result<std::vector<TokenId>> Encode(const std::string& prompt, bool add_special_tokens,
                                    const text::ModelText& text) {
  auto tokens = text.tokenizer.Encode(prompt, {.add_special_tokens = add_special_tokens});
  if (!tokens && tokens.error().code == ErrorCode::kInvalidArgument) {
    tokens.error().param = "prompt";
  }
  return tokens;
}

// What of a chat goes through the template, all of which counts, and the largest field of it.
struct ChatSize {
  explicit ChatSize(const ChatPrompt& chat) {
    Add("messages", chat.messages_json);
    Add("tools", chat.tools_json);
    Add("chat_template_kwargs", chat.template_kwargs_json);
  }

  void Add(std::string_view name, std::string_view json) {
    num_bytes += json.size();
    if (json.size() <= largest_bytes) return;
    largest_bytes = json.size();
    largest = name;
  }

  size_t num_bytes = 0;
  size_t largest_bytes = 0;
  std::string_view largest = "messages";
};

}  // namespace

size_t Planner::max_text_bytes() const {
  constexpr size_t kLeast = size_t{1}
                            << 20;  // of a small context: who counts tokens may cut afterwards
  constexpr size_t kBytesPerToken = 16;
  return std::max(kLeast, kBytesPerToken * static_cast<size_t>(max_model_len_));
}

Status Planner::CheckTextSize(size_t num_bytes, std::string_view param) const {
  if (num_bytes <= max_text_bytes()) return {};
  return Fail(ErrorCode::kTooLarge,
              fmt::format("'{}' has {} bytes of text; the limit is {}.", param, num_bytes,
                          max_text_bytes()),
              std::string(param));
}

bool GenerationPlan::MayAnswerLarge() const {
  constexpr int64_t kTokensPerItem = 16;  // of text; a logprob is written in the time of so many
  constexpr int64_t kMaxItems = int64_t{1} << 16;  // 10 ms
  constexpr int64_t kUsualBytes = 256;  // of the longest tokens of tokenizers that people use
  // An adapter's tokenizer may have tokens of kilobytes: each is written in the time of many.
  const int64_t items_per_token =
      std::max<int64_t>(1, static_cast<int64_t>(text->max_token_bytes) / kUsualBytes);
  int64_t num_items = 0;
  for (const Echo& echo : echoes) {
    num_items += n() * static_cast<int64_t>(echo.text.size()) / (kTokensPerItem * 4);
  }
  for (const GenerateRequest& request : requests) {
    const int64_t num_sequences = request.num_sequences;
    const int64_t num_tokens = num_sequences * request.sampling.max_tokens;
    const int64_t num_prompt_tokens = num_sequences * static_cast<int64_t>(request.prompt.size());
    num_items += num_tokens / kTokensPerItem;
    if (!wants_logprobs()) continue;
    const int64_t num_rows =
        num_tokens + (request.sampling.prompt_logprobs ? num_prompt_tokens : 0);
    num_items += num_rows * (2 + request.sampling.num_logprobs);
  }
  return num_items * items_per_token > kMaxItems;
}

// Tokenising megabytes only to find that they do not fit would keep others waiting.
Status Planner::CheckFits(size_t num_bytes, const text::ModelText& text,
                          std::string_view param) const {
  const size_t max_len = static_cast<size_t>(max_model_len_);
  if (num_bytes <= max_len * text.max_token_bytes) return CheckTextSize(num_bytes, param);
  return Fail(
      ErrorCode::kTooLarge,
      fmt::format("This model's maximum context length is {} tokens. However, your {} has {} "
                  "bytes of text, which cannot fit. Please reduce the length of the {}.",
                  max_len, param, num_bytes, param),
      std::string(param));
}

Status Planner::CheckPrompts(const CompletionRequest& request, const text::ModelText& text) const {
  size_t num_bytes = 0;
  for (const api::openai::Prompt& prompt : request.prompts) {
    if (const auto* written = std::get_if<std::string>(&prompt)) {
      RETURN_IF_ERROR(CheckFits(written->size(), text, "prompt"));
      num_bytes += written->size();
    } else if (request.echo) {  // the answer has the text of the ids
      for (const TokenId id : std::get<std::vector<TokenId>>(prompt)) {
        num_bytes += text.tokenizer.TokenBytes(id).size();
      }
    }
  }
  if (num_bytes <= max_request_text_bytes()) return {};
  return Fail(ErrorCode::kTooLarge,
              fmt::format("The prompts have {} bytes of text together; the limit is {}.", num_bytes,
                          max_request_text_bytes()),
              "prompt");
}

Result<std::vector<TokenId>> Planner::EncodeChat(const ChatPrompt& chat,
                                                 const text::ModelText& text) const {
  if (!text.chat_template) {
    return Fail(ErrorCode::kUnsupported,
                "This model has no chat template: use /v1/completions, or start the server with "
                "--chat-template FILE.",
                "messages");
  }
  text::Chat rendered_from;
  rendered_from.messages_json = chat.messages_json;
  rendered_from.tools_json = chat.tools_json;
  rendered_from.variables_json = chat.template_kwargs_json;
  rendered_from.add_generation_prompt = chat.add_generation_prompt;
  // What a template writes around the messages is less than they are, or it is no honest one.
  constexpr size_t kTextsWritten = 2;
  rendered_from.max_rendered_bytes = kTextsWritten * max_text_bytes();
  ASSIGN_OR_RETURN(text::RenderedChat rendered,
                   text.chat_template->RenderAndEncode(rendered_from, text.tokenizer));
  if (!chat.continue_final_message) return std::move(rendered.ids);

  // What the template wrote after the last message is taken off again, as whole tokens.
  const size_t end = EndOfFinalContent(rendered.text, chat.final_content);
  if (end != std::string::npos) {
    ASSIGN_OR_RETURN(const std::vector<TokenId> tail,
                     text.tokenizer.Encode(std::string_view(rendered.text).substr(end),
                                           {.add_special_tokens = false}));
    const bool ends_so = rendered.ids.size() > tail.size() &&
                         std::equal(tail.rbegin(), tail.rend(), rendered.ids.rbegin());
    if (ends_so) {
      rendered.ids.resize(rendered.ids.size() - tail.size());
      return std::move(rendered.ids);
    }
  }
  return Fail(ErrorCode::kUnsupported,
              "This model's chat template does not let the last message be continued.",
              "continue_final_message");
}

Result<GenerationPlan> Planner::PlanCompletion(CompletionRequest request, ModelChoice model,
                                               Text model_text,
                                               const std::function<bool()>& is_wanted) const {
  GenerationPlan plan = StartPlan(request, std::move(model), std::move(model_text));
  plan.endpoint = api::openai::Endpoint::kCompletion;
  RETURN_IF_ERROR(CheckTokenIds(request, VocabSize(plan.model, *plan.text)));
  RETURN_IF_ERROR(CheckPrompts(request, *plan.text));
  for (api::openai::Prompt& prompt : request.prompts) {
    if (!is_wanted()) return Fail(ErrorCode::kCancelled, "The request is not wanted any more.");
    auto* text = std::get_if<std::string>(&prompt);
    std::vector<TokenId> tokens;
    if (text != nullptr) {
      ASSIGN_OR_RETURN(tokens, Encode(*text, request.add_special_tokens, *plan.text));
    } else {
      tokens = std::get<std::vector<TokenId>>(std::move(prompt));
    }
    const ContextUse use = {.default_tokens = kDefaultCompletionTokens,
                            .max_model_len = max_model_len_,
                            .param = "prompt"};
    RETURN_IF_ERROR(AddPrompt(request, std::move(tokens), use, plan));
    if (!request.echo) continue;
    plan.echoes.push_back(MakeEcho(request, text, plan.requests.back().prompt, *plan.text));
  }
  return plan;
}

Result<GenerationPlan> Planner::PlanChat(api::openai::ChatRequest request, ModelChoice model,
                                         Text model_text) const {
  GenerationPlan plan = StartPlan(request, std::move(model), std::move(model_text));
  plan.endpoint = api::openai::Endpoint::kChat;
  RETURN_IF_ERROR(CheckTokenIds(request, VocabSize(plan.model, *plan.text)));
  const ChatSize size(request.chat);
  RETURN_IF_ERROR(CheckFits(size.num_bytes, *plan.text, size.largest));
  ASSIGN_OR_RETURN(std::vector<TokenId> tokens, EncodeChat(request.chat, *plan.text));
  const ContextUse use = {.max_model_len = max_model_len_, .param = "messages"};
  RETURN_IF_ERROR(AddPrompt(request, std::move(tokens), use, plan));
  return plan;
}

Result<std::vector<TokenId>> Planner::Tokenize(const api::openai::TokenizeRequest& request,
                                               const text::ModelText& text) const {
  if (const auto* chat = std::get_if<ChatPrompt>(&request.input)) {
    const ChatSize size(*chat);
    RETURN_IF_ERROR(CheckTextSize(size.num_bytes, size.largest));
    return EncodeChat(*chat, text);
  }
  const auto& prompt = std::get<std::string>(request.input);
  RETURN_IF_ERROR(CheckTextSize(prompt.size(), "prompt"));
  return Encode(prompt, request.add_special_tokens, text);
}

Result<std::string> Planner::Detokenize(const api::openai::DetokenizeRequest& request,
                                        const ModelChoice& model,
                                        const text::ModelText& text) const {
  RETURN_IF_ERROR(CheckTokenIds(request, VocabSize(model, text)));
  size_t num_bytes = 0;
  for (const TokenId id : request.tokens) num_bytes += text.tokenizer.TokenBytes(id).size();
  if (num_bytes > max_text_bytes()) {
    return Fail(ErrorCode::kTooLarge,
                fmt::format("The text of 'tokens' has {} bytes; the limit is {}.", num_bytes,
                            max_text_bytes()),
                "tokens");
  }
  return text.tokenizer.Decode(request.tokens, {.skip_special_tokens = false});
}

}  // namespace lorry::server
