// A request from when it wants adapters until it has them.
// Thread: shared by who makes it and the adapter service; `gone` from any.
#pragma once

#include <stop_token>
#include <string>
#include <vector>

namespace lorry {

struct WaitingRequest {
  std::stop_source gone;  // its client has hung up: nothing is wanted any more
};

// All of them, for who counts what waits.
struct WaitingRequests {
  int num_requests = 0;
  std::vector<std::string> adapters;  // that they wait for, as clients call them
};

}  // namespace lorry
