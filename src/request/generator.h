// The engine as its clients see it. Implemented by engine/Engine, and by an echo in tests of the
// server.
#pragma once

#include <memory>

#include "base/result.h"
#include "request/generate_request.h"
#include "request/token_event.h"

namespace lorry {

class Generator {
 public:
  virtual ~Generator() = default;

  // Any thread. kResourceExhausted: the queue is full; kUnavailable: stopping. After success the
  // sink gets exactly one event with `finish` per sequence, also after Cancel.
  virtual Status Submit(GenerateRequest request, std::shared_ptr<EventSink> sink) = 0;

  // Any thread. Ends the whole request, or with seq_idx >= 0 one of its sequences. Unknown ids are
  // ignored.
  virtual void Cancel(RequestId request, int seq_idx = -1) = 0;

  // Any thread. Ends one sequence because its text is complete (a stop string was found): counts as
  // kStop.
  virtual void Complete(RequestId request, int seq_idx) { Cancel(request, seq_idx); }
};

}  // namespace lorry
