// DescriptorShares: each connection is a file descriptor, and the system allows a process only so
// many. How many connections there may be of each kind, so that files, fetches, text workers and
// the listener for managing always find one: at the limit connections make room for each other, and
// nothing else fails.
#pragma once

#include <cstdint>

#include "base/result.h"

namespace lorry::server {

struct DescriptorNeeds {
  int max_connections = 4096;  // of clients that were admitted, as asked for; as many newcomers
  int num_fetchers = 16;
  bool has_admin = false;  // a listener for managing
};

struct ConnectionLimits {
  int max_connections = 0, max_newcomers = 0;  // as in net::HttpServerOptions
};

struct DescriptorShares {
  ConnectionLimits clients, admin;
};

// With which everything has what it asks for.
uint64_t WantedDescriptors(const DescriptorNeeds& needs);

// What each gets of `max_descriptors`: newcomers get less first, down to a quarter of the clients'
// descriptors. kResourceExhausted: that is too few for any use.
Result<DescriptorShares> ShareDescriptors(const DescriptorNeeds& needs, uint64_t max_descriptors);

}  // namespace lorry::server
