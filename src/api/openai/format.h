// Answers, chunks and lists as OpenAI's JSON (with vLLM's extensions), appended to strings.
// Owns: a stream's constant beginning. Thread: one per ChunkWriter. Never: builds a JSON tree,
// frames SSE events.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "base/ids.h"
#include "base/result.h"
#include "request/model_directory.h"
#include "request/token_event.h"

namespace lorry::api::openai {

enum class Endpoint { kCompletion, kChat };

struct AnswerHead {
  Endpoint endpoint = Endpoint::kCompletion;
  std::string id;     // "cmpl-…", "chatcmpl-…"
  std::string model;  // the name to show
  int64_t created_s = 0;
};

struct Usage {
  int64_t prompt_tokens = 0;
  int64_t completion_tokens = 0;
};

struct TokenText {
  std::string text;  // the token's bytes; may be a part of a character
  float logprob = 0;
};

struct LogprobRow {
  TokenText token;
  bool has_logprob = true;     // false: the first token of a prompt
  std::vector<TokenText> top;  // best first
  int64_t text_offset = 0;     // characters before it in the choice's text; completions only
};

// What ended a sequence, beyond OpenAI's finish_reason: a stop string, a stop token id, or nothing
// to say.
using StopReason = std::variant<std::monostate, std::string, TokenId>;

// A whole choice, or what a chunk adds to it. Views last for the call only.
struct Choice {
  int index = 0;
  std::string_view text;
  const std::vector<LogprobRow>* logprobs = nullptr;  // nullptr: not asked for
  std::optional<FinishReason> finish;
  StopReason stop_reason;
  const std::vector<TokenId>* token_ids = nullptr;         // nullptr: not asked for
  const std::vector<TokenId>* prompt_token_ids = nullptr;  // nullptr: not asked for, or sent before
};

std::string FormatAnswer(const AnswerHead& head, std::span<const Choice> choices,
                         const Usage& usage);

class ChunkWriter {
 public:
  // with_usage: every chunk has `usage`, null but in the last (stream_options.include_usage).
  ChunkWriter(const AnswerHead& head, bool with_usage);

  // A chat choice's first chunk: the role, and the prompt's ids if asked for.
  void AppendRole(std::string& out, int choice_idx,
                  const std::vector<TokenId>* prompt_token_ids = nullptr) const;
  void AppendChoice(std::string& out, const Choice& choice) const;
  // The last chunk: no choices, the counts.
  void AppendUsage(std::string& out, const Usage& usage) const;

 private:
  void Close(std::string& out) const;

  Endpoint endpoint_;
  bool with_usage_;
  std::string prefix_;  // up to the list of choices
};

// {"tokens":[…],"token_logprobs":[…],"top_logprobs":[…],"text_offset":[…]}
void AppendCompletionLogprobs(std::string& out, std::span<const LogprobRow> rows);
// {"content":[{"token":…,"logprob":…,"bytes":[…],"top_logprobs":[…]}]}
void AppendChatLogprobs(std::string& out, std::span<const LogprobRow> rows);

void AppendTokenIds(std::string& out, std::span<const TokenId> ids);

// GET /v1/models: the base names first, then the adapters.
std::string FormatModels(const ModelDirectory& directory);
// GET /v1/models/{id}; kNotFound.
Result<std::string> FormatModel(const ModelDirectory& directory, std::string_view id);

// token_strings: nullptr if not asked for.
std::string FormatTokenize(std::span<const TokenId> tokens, int max_model_len,
                           const std::vector<std::string_view>* token_strings);
std::string FormatDetokenize(std::string_view text);
std::string FormatVersion(std::string_view version);

}  // namespace lorry::api::openai
