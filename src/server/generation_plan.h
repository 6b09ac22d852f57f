// GenerationPlan: what a completion or chat request asks of the engine, and how its answer is to
// look. Made from the parsed body by the text work: template, tokens, limits, model name. Owns:
// nothing shared. Thread: text threads make it, the session's thread uses it. Never: talks to the
// engine.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "api/openai/format.h"
#include "api/openai/request.h"
#include "base/result.h"
#include "request/generate_request.h"
#include "request/model_directory.h"
#include "text/model_text.h"

namespace lorry::server {

// A prompt as it comes back in front of the answer.
struct Echo {
  std::string text;
  std::vector<int64_t> offsets;  // with log probabilities: of each token, in characters of the text
};

struct GenerationPlan {
  api::openai::Endpoint endpoint = api::openai::Endpoint::kCompletion;
  ModelChoice model;
  std::shared_ptr<const text::ModelText> text;  // of the model
  std::vector<GenerateRequest> requests;        // one a prompt; their ids are still to be given
  std::shared_ptr<WaitingRequest> waiting;      // until they are submitted
  std::vector<Echo> echoes;                     // one a prompt; empty: no echo
  bool stream = false;
  bool include_usage = false;
  bool return_token_ids = false;
  bool skip_special_tokens = true;
  std::vector<std::string> stop;
  bool include_stop_in_output = false;

  int n() const { return requests.front().num_sequences; }
  // OpenAI numbers choices prompt by prompt.
  int num_choices() const { return n() * static_cast<int>(requests.size()); }
  bool wants_logprobs() const { return requests.front().sampling.num_logprobs >= 0; }
  // Whether the answer, or a piece of it, may be so large that it takes long to write.
  bool MayAnswerLarge() const;
};

class Planner {
 public:
  using Text = std::shared_ptr<const text::ModelText>;

  explicit Planner(int max_model_len) : max_model_len_(max_model_len) {}

  // Of one text, by /tokenize too: the texts of documents and programs have 3 to 5 bytes a token.
  // Larger ones are refused before anything is done with them, since tokenising takes 100 times
  // their memory.
  size_t max_text_bytes() const;
  // Of all texts of one request.
  size_t max_request_text_bytes() const { return 4 * max_text_bytes(); }

  // `model` is what the request's model stands for, with its weights at hand, `text` its text.
  // Between the prompts `is_wanted` is asked whether to go on.
  Result<GenerationPlan> PlanCompletion(
      api::openai::CompletionRequest request, ModelChoice model, Text text,
      const std::function<bool()>& is_wanted = [] { return true; }) const;
  Result<GenerationPlan> PlanChat(api::openai::ChatRequest request, ModelChoice model,
                                  Text text) const;

  Result<std::vector<TokenId>> Tokenize(const api::openai::TokenizeRequest& request,
                                        const text::ModelText& text) const;
  Result<std::string> Detokenize(const api::openai::DetokenizeRequest& request,
                                 const ModelChoice& model, const text::ModelText& text) const;

 private:
  Status CheckTextSize(size_t num_bytes, std::string_view param) const;
  Status CheckFits(size_t num_bytes, const text::ModelText& text, std::string_view param) const;
  Status CheckPrompts(const api::openai::CompletionRequest& request,
                      const text::ModelText& text) const;
  Result<std::vector<TokenId>> EncodeChat(const api::openai::ChatPrompt& chat,
                                          const text::ModelText& text) const;

  const int max_model_len_;
};

}  // namespace lorry::server
