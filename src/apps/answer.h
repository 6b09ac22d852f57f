// One answer of the engine, as text while it grows: what `lorry run` shows.
// Owns: nothing between calls. Thread: one caller; it waits for the engine's events.
#pragma once

#include <atomic>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "apps/stack.h"
#include "base/result.h"
#include "request/generate_request.h"
#include "request/token_event.h"

namespace lorry::apps {

struct SamplingChoice {
  std::optional<double> temperature;  // unset: the model's generation_config.json, else greedy
  std::optional<int64_t> seed;        // unset: drawn
  int max_tokens = 0;                 // 0: what the context allows
};

struct Answer {
  std::string text;
  FinishReason finish = FinishReason::kStop;
  int num_prompt_tokens = 0;
  int num_tokens = 0;
  double first_token_s = 0;
  double total_s = 0;
};

SamplingParams MakeSampling(const formats::GenerationConfig& generation,
                            const SamplingChoice& choice);

// Who answers: a model and its text.
struct Speaker {
  ModelChoice model;
  std::shared_ptr<const text::ModelText> text;
};

// Calls on_text with each piece. When `interrupted` becomes true the request is cancelled, and the
// answer so far returned.
Result<Answer> Generate(Stack& stack, const Speaker& speaker, std::vector<TokenId> prompt,
                        SamplingParams sampling,
                        const std::function<void(std::string_view)>& on_text,
                        const std::atomic<bool>& interrupted);

}  // namespace lorry::apps
