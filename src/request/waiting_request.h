// A request from when it wants adapters until it has them.
// Thread: shared by who makes it and the adapter service; `gone` from any.
#pragma once

#include <stop_token>

namespace lorry {

struct WaitingRequest {
  std::stop_source gone;  // its client has hung up: nothing is wanted any more
};

}  // namespace lorry
