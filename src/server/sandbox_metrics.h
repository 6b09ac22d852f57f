// The metrics of the workers that run what adapters bring of text.
// Owns: handles into the registry, and what of the sandbox's counts is in it.
// Thread: any.
#pragma once

#include <prometheus/counter.h>
#include <prometheus/registry.h>

#include <array>
#include <atomic>
#include <cstdint>
#include <tuple>

#include "text/text_sandbox.h"

namespace lorry::server {

class SandboxMetrics {
 public:
  explicit SandboxMetrics(prometheus::Registry& registry);

  // Before the registry is read.
  void Update(const text::SandboxStats& stats);

 private:
  // A counter that follows a count kept elsewhere.
  struct Follower {
    prometheus::Counter& counter;
    std::atomic<uint64_t> num_counted = 0;

    void RaiseTo(uint64_t total);
  };

  Follower calls_;
  Follower refused_;
  Follower starts_;
  std::array<Follower, std::tuple_size_v<decltype(text::SandboxStats::num_ends)>> ends_;
};

}  // namespace lorry::server
