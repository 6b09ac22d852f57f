// A request as the engine sees it: tokens in, no JSON, no text.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "base/clock.h"
#include "base/ids.h"
#include "request/adapter_term.h"
#include "request/sampling_params.h"
#include "request/waiting_request.h"

namespace lorry {

struct GenerateRequest {
  RequestId id;
  RequestId part_of;  // the client's request, if it has several prompts; 0: it is id
  std::vector<AdapterTerm> adapters;  // summed, their weights at hand; empty: the base
  std::vector<TokenId> prompt;        // at least one token
  int num_sequences = 1;              // OpenAI's n; sequence i draws with (seed, i)
  SamplingParams sampling;
  std::vector<TokenId> eos_ids;  // end a text beside the model's own: the adapter's
  Micros arrival_us = 0;
  std::shared_ptr<WaitingRequest> waiting;  // until all sequences have begun; null: not counted
};

}  // namespace lorry
