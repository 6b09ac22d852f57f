// What an engine shows of itself: counters to anyone, and each step to an observer (tests,
// measurements).
#pragma once

#include <cstdint>
#include <span>

#include "base/clock.h"
#include "base/ids.h"

namespace lorry::engine {

// Totals since the start, and the state after the last step.
struct EngineStats {
  int num_running = 0;
  int num_waiting = 0;
  int kv_pages_used = 0;
  int kv_pages_total = 0;
  int max_adapters_in_step = 0;  // distinct, the base not counted
  uint64_t num_steps = 0;
  uint64_t num_preemptions = 0;
  uint64_t prompt_tokens = 0;
  uint64_t generation_tokens = 0;
};

struct StepInfo {
  int num_rows = 0;
  int num_decode_rows = 0;
  int num_prompt_rows = 0;  // also those that a preempted sequence replays
  int num_sequences = 0;
  int num_adapters = 0;  // distinct, the base not counted
  int num_preempted = 0;
  Micros plan_us = 0;  // plan and batch
  Micros forward_us = 0;
  Micros sample_us = 0;
  Micros apply_us = 0;  // apply and events
};

// Called on the engine's thread, within the step.
class EngineObserver {
 public:
  virtual ~EngineObserver() = default;
  virtual void OnStep(const StepInfo& /*step*/) {}
  // The logits that follow the token at `position` (0: the prompt's first); valid during the call.
  virtual void OnLogits(RequestId /*request*/, int /*seq_idx*/, int /*position*/,
                        std::span<const float> /*logits*/) {}
};

}  // namespace lorry::engine
