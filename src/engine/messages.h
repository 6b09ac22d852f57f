// What other threads may tell the engine thread.
#pragma once

#include <memory>
#include <variant>

#include "base/clock.h"
#include "request/generate_request.h"
#include "request/token_event.h"

namespace lorry::model {
class AdapterWeights;
}

namespace lorry::engine {

// A request that has passed the checks of Engine::Submit.
struct SubmitMessage {
  GenerateRequest request;
  std::shared_ptr<EventSink> sink;
  const model::AdapterWeights* adapter = nullptr;  // null: the base
};

struct CancelMessage {
  RequestId request;
  int seq_idx = -1;  // -1: all of them
  FinishReason reason = FinishReason::kCancelled;
};

// Finish what is here until `deadline_us`, cancel the rest, end the thread.
struct StopMessage {
  Micros deadline_us = 0;
};

using Message = std::variant<SubmitMessage, CancelMessage, StopMessage>;

}  // namespace lorry::engine
