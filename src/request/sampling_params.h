// How a request wants its tokens drawn. Defaults are OpenAI's.
#pragma once

#include <cstdint>
#include <optional>
#include <utility>
#include <vector>

#include "base/ids.h"

namespace lorry {

struct SamplingParams {
  float temperature = 1.0f;         // 0: greedy
  int top_k = 0;                    // 0: off
  float top_p = 1.0f;               // 1: off
  float min_p = 0.0f;               // 0: off; relative to the most likely token
  float repetition_penalty = 1.0f;  // 1: off; over prompt and output (CTRL's, as transformers does)
  float presence_penalty = 0.0f;    // 0: off; over output
  float frequency_penalty = 0.0f;   // 0: off; over output
  std::vector<std::pair<TokenId, float>> logit_bias;
  uint64_t seed = 0;  // always set: drawn at the border when the client gave none
  int max_tokens = 16;
  int min_tokens = 0;  // no end-of-sequence or stop id before that many
  bool ignore_eos = false;
  std::vector<TokenId> stop_token_ids;
  int num_logprobs = -1;         // -1: none; 0: the chosen token's; k: and the k most likely ones
  bool prompt_logprobs = false;  // the same for the prompt's tokens (echo)
};

}  // namespace lorry
