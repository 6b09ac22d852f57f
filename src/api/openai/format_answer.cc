#include "api/openai/format.h"
#include "api/openai/json_text.h"

namespace lorry::api::openai {
namespace {

std::string_view ObjectName(Endpoint endpoint, bool is_chunk) {
  if (endpoint == Endpoint::kCompletion) return "text_completion";  // the same for chunks
  return is_chunk ? "chat.completion.chunk" : "chat.completion";
}

// {"id":…,"object":…,"created":…,"model":…,"choices":
std::string Beginning(const AnswerHead& head, bool is_chunk) {
  std::string text = R"({"id":)";
  AppendJsonString(text, head.id);
  text += R"(,"object":)";
  AppendJsonString(text, ObjectName(head.endpoint, is_chunk));
  text += R"(,"created":)";
  AppendJsonInt(text, head.created_s);
  text += R"(,"model":)";
  AppendJsonString(text, head.model);
  text += R"(,"choices":)";
  return text;
}

void AppendUsageObject(std::string& out, const Usage& usage) {
  out += R"({"prompt_tokens":)";
  AppendJsonInt(out, usage.prompt_tokens);
  out += R"(,"completion_tokens":)";
  AppendJsonInt(out, usage.completion_tokens);
  out += R"(,"total_tokens":)";
  AppendJsonInt(out, usage.prompt_tokens + usage.completion_tokens);
  out += '}';
}

void AppendLogprobs(std::string& out, Endpoint endpoint, const std::vector<LogprobRow>* rows) {
  out += R"(,"logprobs":)";
  if (rows == nullptr) {
    out += "null";
  } else if (endpoint == Endpoint::kChat) {
    AppendChatLogprobs(out, *rows);
  } else {
    AppendCompletionLogprobs(out, *rows);
  }
}

void AppendFinish(std::string& out, const Choice& choice) {
  out += R"(,"finish_reason":)";
  if (choice.finish) {
    AppendJsonString(out, FinishReasonName(*choice.finish));
  } else {
    out += "null";
  }
  out += R"(,"stop_reason":)";
  if (const auto* text = std::get_if<std::string>(&choice.stop_reason)) {
    AppendJsonString(out, *text);
  } else if (const auto* token = std::get_if<TokenId>(&choice.stop_reason)) {
    AppendJsonInt(out, *token);
  } else {
    out += "null";
  }
}

void AppendIdField(std::string& out, std::string_view name, const std::vector<TokenId>* ids) {
  if (ids == nullptr) return;
  out += ',';
  AppendJsonString(out, name);
  out += ':';
  AppendTokenIds(out, *ids);
}

// {"index":0,…}
void AppendChoiceObject(std::string& out, Endpoint endpoint, const Choice& choice, bool is_chunk) {
  out += R"({"index":)";
  AppendJsonInt(out, choice.index);
  if (endpoint == Endpoint::kCompletion) {
    out += R"(,"text":)";
    AppendJsonString(out, choice.text);
  } else if (!is_chunk) {
    out += R"(,"message":{"role":"assistant","content":)";
    AppendJsonString(out, choice.text);
    out += R"(,"refusal":null})";
  } else if (choice.text.empty() && choice.finish) {
    out += R"(,"delta":{})";
  } else {
    out += R"(,"delta":{"content":)";
    AppendJsonString(out, choice.text);
    out += '}';
  }
  AppendLogprobs(out, endpoint, choice.logprobs);
  AppendFinish(out, choice);
  if (endpoint == Endpoint::kCompletion) {
    AppendIdField(out, "prompt_token_ids", choice.prompt_token_ids);
  }
  AppendIdField(out, "token_ids", choice.token_ids);
  out += '}';
}

}  // namespace

std::string FormatAnswer(const AnswerHead& head, std::span<const Choice> choices,
                         const Usage& usage) {
  std::string out = Beginning(head, /*is_chunk=*/false);
  out += '[';
  for (size_t i = 0; i < choices.size(); ++i) {
    if (i > 0) out += ',';
    AppendChoiceObject(out, head.endpoint, choices[i], /*is_chunk=*/false);
  }
  out += R"(],"usage":)";
  AppendUsageObject(out, usage);
  if (head.endpoint == Endpoint::kChat && !choices.empty()) {
    AppendIdField(out, "prompt_token_ids", choices[0].prompt_token_ids);  // one prompt, all choices
  }
  out += '}';
  return out;
}

ChunkWriter::ChunkWriter(const AnswerHead& head, bool with_usage)
    : endpoint_(head.endpoint), with_usage_(with_usage), prefix_(Beginning(head, true)) {}

void ChunkWriter::Close(std::string& out) const {
  if (with_usage_) out += R"(,"usage":null)";
  out += '}';
}

void ChunkWriter::AppendRole(std::string& out, int choice_idx,
                             const std::vector<TokenId>* prompt_token_ids) const {
  out += prefix_;
  out += R"([{"index":)";
  AppendJsonInt(out, choice_idx);
  out += R"(,"delta":{"role":"assistant","content":""},"logprobs":null,"finish_reason":null}])";
  AppendIdField(out, "prompt_token_ids", prompt_token_ids);
  Close(out);
}

void ChunkWriter::AppendChoice(std::string& out, const Choice& choice) const {
  out += prefix_;
  out += '[';
  AppendChoiceObject(out, endpoint_, choice, /*is_chunk=*/true);
  out += ']';
  Close(out);
}

void ChunkWriter::AppendUsage(std::string& out, const Usage& usage) const {
  out += prefix_;
  out += R"([],"usage":)";
  AppendUsageObject(out, usage);
  out += '}';
}

}  // namespace lorry::api::openai
