// JSON bodies to requests. Every bad value is an error that names the field (`param`) and what it
// may be. Owns: nothing. Thread: any. Never: throws, tokenises, or draws a seed.
//
// Fields that are unknown are ignored, since clients send many, unless they look like a slip for
// one that is known; fields that are known, not supported and would change the answer are refused.
#pragma once

#include <string_view>

#include "api/openai/field_reader.h"
#include "api/openai/request.h"
#include "base/result.h"

namespace lorry::api::openai {

struct ParseLimits {
  JsonLimits json;
  int max_n = 128;
  int max_sequences = 1024;  // prompts times n
  int max_logprobs = 20;
  int max_stop_strings = 16;  // OpenAI allows 4
  int max_stop_bytes = 1024;  // of each
  int max_logit_biases = 1024;
  int max_stop_token_ids = 256;
  int max_messages = 4096;
  SamplingParams default_sampling;  // what a request gets where it says nothing
};

Result<CompletionRequest> ParseCompletion(std::string_view body, const ParseLimits& limits);
Result<ChatRequest> ParseChat(std::string_view body, const ParseLimits& limits);
Result<TokenizeRequest> ParseTokenize(std::string_view body, const ParseLimits& limits);
Result<DetokenizeRequest> ParseDetokenize(std::string_view body, const ParseLimits& limits);

// Once it is known which model a request names: its token ids lie below that model's vocab_size.
Status CheckTokenIds(const CompletionRequest& request, int vocab_size);
Status CheckTokenIds(const ChatRequest& request, int vocab_size);
Status CheckTokenIds(const DetokenizeRequest& request, int vocab_size);

}  // namespace lorry::api::openai
