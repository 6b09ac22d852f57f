// A request's sequences as the engine thread keeps them.
#pragma once

#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "base/clock.h"
#include "base/ids.h"
#include "model/model_spec.h"
#include "pages/sequence_pages.h"
#include "request/generate_request.h"
#include "request/token_event.h"

namespace lorry::adapters {
struct AdapterImage;
}
namespace lorry::model {
class AdapterWeights;
}

namespace lorry::engine {

struct RequestState;
struct AdapterCounters;  // engine/metrics.h

struct Sequence {
  Sequence(RequestState* request_state, SequencePages page_table)
      : request(request_state), pages(std::move(page_table)) {}

  std::span<const TokenId> prompt() const { return std::span(tokens).first(num_prompt); }
  std::span<const TokenId> output() const { return std::span(tokens).subspan(num_prompt); }
  int num_output() const { return static_cast<int>(tokens.size()) - num_prompt; }
  int num_uncomputed() const { return static_cast<int>(tokens.size()) - num_computed; }
  bool wants_prompt_logprobs() const;

  RequestState* request;
  int seq_idx = 0;
  SeqId id;                     // from 1, in the order in which they began; 0: not yet
  std::vector<TokenId> tokens;  // prompt, then output
  int num_prompt = 0;
  int num_computed = 0;  // of tokens, in the KV cache
  int max_output = 0;    // max_tokens, within max_model_len
  int num_drawn = 0;     // the output, and the id that ended it
  SequencePages pages;

  std::vector<TokenOutput> prompt_logprobs;  // those not told yet
  int num_prompt_logprobs = 0;               // known in all; a preemption does not lose them
  bool is_queued = true;                     // has not been in a step yet
  bool is_running = false;
  bool is_finished = false;
  bool has_spoken = false;  // an event has gone out

  Micros scheduled_us = 0;  // its first step began
  Micros first_token_us = 0;
  Micros last_token_us = 0;
};

// An adapter of the sum that a request runs on.
struct SummedAdapter {
  std::shared_ptr<const adapters::AdapterImage> image;
  float weight = 1;
  const model::AdapterWeights* weights = nullptr;  // in the pool while a sequence runs
};

struct RequestState {
  GenerateRequest request;   // its prompt has moved to the sequences
  RequestId client_request;  // that it is all or a part of
  std::shared_ptr<EventSink> sink;
  std::vector<SummedAdapter> adapters;  // adapter_sum.h; empty: the base
  int adapter_idx = 0;                  // 0: the base; the same number: the same sum
  int vocab_size = 0;                   // tokens that its sequences may hold and draw
  std::vector<TokenId> banned;          // end-of-sequence and stop ids: not drawn before min_tokens
  // Of each name that was asked for, or of the base.
  std::vector<std::shared_ptr<AdapterCounters>> counters;
  std::vector<Sequence> sequences;  // [num_sequences], never resized
  int num_unfinished = 0;
  int num_queued = 0;
};

// The logits of prompt token p give the log-probability of p + 1, the first token has none.
inline bool Sequence::wants_prompt_logprobs() const {
  return request->request.sampling.prompt_logprobs && num_prompt_logprobs < num_prompt;
}

}  // namespace lorry::engine
