// What other threads may tell the engine thread.
#pragma once

#include <memory>
#include <variant>
#include <vector>

#include "base/clock.h"
#include "engine/adapter_copier.h"
#include "request/generate_request.h"
#include "request/model_directory.h"
#include "request/token_event.h"
#include "request/waiting_request.h"

namespace lorry::engine {

// A request that has passed the checks of Engine::Submit.
struct SubmitMessage {
  GenerateRequest request;
  std::shared_ptr<EventSink> sink;
};

struct CancelMessage {
  RequestId request;
  int seq_idx = -1;  // -1: all of them
  FinishReason reason = FinishReason::kCancelled;
};

// Brings an adapter to the pool before it is asked for, or keeps it there.
struct KeepMessage {
  enum class How { kWarm, kPin };
  std::shared_ptr<const adapters::AdapterImage> image;
  How how = How::kWarm;
};

// A pinned adapter may leave like others.
struct UnpinMessage {
  AdapterId adapter;
};

// The adapter is gone for good: its memory is given back once nobody uses it.
struct DropMessage {
  AdapterId adapter;
};

// Requests that wait elsewhere, to be shown beside those that wait here.
struct WaitingMessage {
  WaitingRequests requests;
};

// Adapters' names that have come and gone, in this order, for who counts by name.
struct NamesMessage {
  std::vector<NameChange> changes;
};

// Finish what is here until `deadline_us`, cancel the rest, end the thread.
struct StopMessage {
  Micros deadline_us = 0;
};

using Message = std::variant<SubmitMessage, CancelMessage, KeepMessage, UnpinMessage, DropMessage,
                             AdapterCopied, WaitingMessage, NamesMessage, StopMessage>;

}  // namespace lorry::engine
