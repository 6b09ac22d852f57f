// How an engine is sized. The defaults suit a CPU.
#pragma once

#include <algorithm>
#include <cstddef>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/ids.h"

namespace lorry::engine {

class EngineObserver;  // engine/engine_observer.h

struct EngineOptions {
  std::string model_name;  // the base's display name, a label of every metric
  int num_threads = 1;     // compute threads, the engine's own among them
  int max_model_len = 0;  // prompt + output of a sequence; 0: what the model and the KV cache allow
  int max_num_seqs = 256;  // sequences that run at once
  int max_num_batched_tokens =
      512;  // rows of a step; at least max_num_seqs. More: faster prompts, slower beat
  int max_prompt_chunk = 0;  // rows of one prompt in a step; 0: the whole budget
  int max_waiting = 2048;    // sequences that wait for their first step; beyond: kResourceExhausted
  // Admission counts on a sequence to draw at most this many further tokens. Smaller: more
  // sequences at once, and more preemptions when many of them go on for longer.
  int max_reserved_output_tokens = 512;
  int page_tokens = 16;                   // KV tokens of a page, a multiple of 16
  size_t pool_bytes = size_t{256} << 20;  // of the page pool: KV cache and adapters
  size_t adapter_floor_bytes = 0;  // of the pool, kept for adapters however much KV is wanted
  // A request whose adapter has found no room in the pool for so long is refused.
  Micros max_adapter_wait_us = 60'000'000;
  // End a text beside those of config.json: generation_config.json's, the tokenizer's.
  std::vector<TokenId> eos_ids;
  const Clock* clock = &Clock::Steady();
  EngineObserver* observer = nullptr;  // outlives the engine

  // Of one client's request: half of what may wait, so that none fills the queue alone.
  int max_sequences() const { return std::max(1, max_waiting / 2); }
};

}  // namespace lorry::engine
