// A counter of the registry that follows a count kept elsewhere.
// Owns: what of that count is in the registry. Thread: any.
#pragma once

#include <prometheus/counter.h>

#include <atomic>
#include <cstdint>

namespace lorry::server {

class FollowingCounter {
 public:
  FollowingCounter(prometheus::Counter& counter) : counter_(counter) {}

  // Two pages may be written at once: each step is added by one of them.
  void RaiseTo(uint64_t total) {
    uint64_t counted = num_counted_;
    while (counted < total && !num_counted_.compare_exchange_weak(counted, total)) {
    }
    if (counted < total) counter_.Increment(static_cast<double>(total - counted));
  }

 private:
  prometheus::Counter& counter_;
  std::atomic<uint64_t> num_counted_ = 0;
};

}  // namespace lorry::server
