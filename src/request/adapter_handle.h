// An adapter whose weights are at hand, as a request carries it from the catalogue to the engine.
// Thread: any, read-only. Whoever holds it keeps the weights: a sequence ends on the content that
// it began with, whatever its name points to meanwhile.
#pragma once

#include "base/ids.h"

namespace lorry {

class AdapterHandle {
 public:
  virtual ~AdapterHandle() = default;
  AdapterId id;
  int vocab_size = 0;  // tokens that its sequences may hold and draw; 0: the base's
};

}  // namespace lorry
