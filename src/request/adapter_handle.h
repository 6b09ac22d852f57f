// An adapter whose weights are at hand, as a request carries it from the catalogue to the engine.
// Thread: any, read-only. Whoever holds it keeps the weights: a sequence ends on the content that
// it began with, whatever its name points to meanwhile.
#pragma once

#include <string_view>

#include "base/ids.h"

namespace lorry {

// What an adapter brings of text of its own (formats/adapter_text.h says what is in it).
struct AdapterText {
  std::string_view tokenizer_json;  // empty: the base's
  std::string_view config_json;     // empty: as the base's
  AdapterId id;                     // of the text: equal ones have the same; zero: there is none

  bool empty() const { return id.IsBase(); }
};

class AdapterHandle {
 public:
  virtual ~AdapterHandle() = default;
  AdapterId id;
  AdapterText text;    // views that last as long as this does
  int vocab_size = 0;  // tokens that its sequences may hold and draw; 0: the base's
};

}  // namespace lorry
