#include "server/other_apis.h"

namespace lorry::server {
namespace {

constexpr std::string_view kChats = "Send chats to /v1/chat/completions.";
constexpr std::string_view kPrompts =
    "Send prompts to /v1/completions, chats to /v1/chat/completions.";
constexpr std::string_view kTextOnly =
    "This server writes text alone: /v1/completions and /v1/chat/completions.";
constexpr std::string_view kNoStore =
    "This server keeps nothing: each request to /v1/chat/completions brings all of its messages.";

struct OtherPath {
  std::string_view path;  // with all that is below it
  std::string_view instead;
};
constexpr OtherPath kOtherPaths[] = {
    // OpenAI's
    {"/v1/responses", "The Responses API is not spoken here. Send chats to /v1/chat/completions."},
    {"/v1/embeddings", kTextOnly},
    {"/v1/images", kTextOnly},
    {"/v1/audio", kTextOnly},
    {"/v1/videos", kTextOnly},
    {"/v1/moderations", kTextOnly},
    {"/v1/realtime", kChats},
    {"/v1/files", kNoStore},
    {"/v1/uploads", kNoStore},
    {"/v1/batches", kNoStore},
    {"/v1/assistants", kNoStore},
    {"/v1/threads", kNoStore},
    {"/v1/conversations", kNoStore},
    {"/v1/vector_stores", kNoStore},
    {"/v1/fine_tuning", "This server serves adapters and trains none."},
    // vLLM's, SGLang's, Cohere's and Jina's
    {"/v1/rerank", kTextOnly},
    {"/rerank", kTextOnly},
    {"/v1/score", kTextOnly},
    {"/score", kTextOnly},
    {"/pooling", kTextOnly},
    {"/classify", kTextOnly},
    // Anthropic's
    {"/v1/messages", kChats},
    // TGI's, SGLang's and llama.cpp's
    {"/generate", kPrompts},
    {"/generate_stream", kPrompts},
    {"/completion", kPrompts},
    {"/embedding", kTextOnly},
    // SageMaker's
    {"/invocations", kPrompts},
    {"/ping", "Ask /health whether the server lives, /ready whether it takes requests."},
    // Ollama's
    {"/api/chat", kChats},
    {"/api/generate", kPrompts},
    {"/api/tags", "The models are listed at /v1/models."},
    {"/api/embed", kTextOnly},
    {"/api/embeddings", kTextOnly},
};

bool IsAtOrBelow(std::string_view path, std::string_view top) {
  return path.starts_with(top) && (path.size() == top.size() || path[top.size()] == '/');
}

}  // namespace

std::string_view InsteadOf(std::string_view path) {
  constexpr std::string_view kVersion = "/v1";
  for (const OtherPath& other : kOtherPaths) {
    if (IsAtOrBelow(path, other.path)) return other.instead;
    // A client whose base URL lacks the version.
    const bool is_versioned = other.path.starts_with("/v1/");
    if (is_versioned && IsAtOrBelow(path, other.path.substr(kVersion.size()))) return other.instead;
  }
  return "";
}

}  // namespace lorry::server
