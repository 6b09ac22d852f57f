// What the engine says back: tokens as they come, then the reason for the end.
#pragma once

#include <optional>
#include <string_view>
#include <vector>

#include "base/ids.h"
#include "base/result.h"

namespace lorry {

enum class FinishReason { kStop, kLength, kCancelled, kError };

inline std::string_view FinishReasonName(FinishReason reason) {
  switch (reason) {
    case FinishReason::kStop:
      return "stop";
    case FinishReason::kLength:
      return "length";
    case FinishReason::kCancelled:
      return "abort";
    case FinishReason::kError:
      return "error";
  }
  return "error";
}

struct TokenLogprob {
  TokenId token = 0;
  float logprob = 0;
};

struct TokenOutput {
  TokenId token = 0;
  float logprob = 0;  // of the distribution before temperature and filters; only when asked for
  std::vector<TokenLogprob> top;  // the num_logprobs most likely, best first
};

// One step's news of one sequence.
struct TokenEvent {
  RequestId request;
  int seq_idx = 0;
  std::vector<TokenOutput> tokens;  // usually one
  std::vector<TokenOutput>
      prompt_logprobs;  // with the first event when asked for: [prompt tokens], the first has none
  std::optional<FinishReason> finish;  // set in the sequence's last event
  // The end-of-sequence or stop id that ended it, which is not among `tokens`.
  std::optional<TokenOutput> stop_token;
  std::optional<Error> error;  // with kError
};

// Receives a request's events on the engine's thread; must hand them on without blocking.
class EventSink {
 public:
  virtual ~EventSink() = default;
  virtual void OnEvent(TokenEvent event) = 0;
};

}  // namespace lorry
