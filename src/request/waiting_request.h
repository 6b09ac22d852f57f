// A request from when it wants adapters until it runs with them.
// Owns: its part of the memory that adapters of waiting requests may take. Thread: `gone` from any;
// the rest the adapter service's, until it has answered all that the request wants.
#pragma once

#include <cstdint>
#include <memory>
#include <stop_token>
#include <string>
#include <vector>

namespace lorry {

struct WaitingRequest {
  std::stop_source gone;  // its client has hung up: nothing is wanted any more
  uint64_t turn = 0;      // among the requests that want adapters; 0: none yet
  std::vector<std::shared_ptr<const void>> places;  // of the adapters that it has, given back by it
};

// All of them, for who counts what waits.
struct WaitingRequests {
  int num_requests = 0;
  std::vector<std::string> adapters;  // that they wait for, as clients call them
};

}  // namespace lorry
