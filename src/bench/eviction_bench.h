// The eviction policy beside LRU, LFU, GDSF and the least that any policy could fetch, over steady,
// shifting, scanning and bursty popularity or the arrivals of a trace.
#pragma once

#include <boost/json/object.hpp>
#include <string>
#include <vector>

#include "base/result.h"

namespace lorry::bench {

struct EvictionBenchOptions {
  int num_adapters = 2000;
  int num_requests = 100'000;
  std::vector<double> zipf = {0.9, 1.1};
  std::vector<double> capacity_percent = {2.5, 10, 25};  // of the bytes of all adapters
  std::string trace;  // arrivals and lengths from this file in place of num_requests
};

// Prints a table; returns the same as JSON.
Result<boost::json::object> RunEvictionBench(const EvictionBenchOptions& options);

}  // namespace lorry::bench
