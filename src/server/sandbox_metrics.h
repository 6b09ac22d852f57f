// The metrics of the workers that run what adapters bring of text.
// Owns: handles into the registry, and what of the sandbox's counts is in it.
// Thread: any.
#pragma once

#include <prometheus/registry.h>

#include <array>
#include <tuple>

#include "server/following_counter.h"
#include "text/text_sandbox.h"

namespace lorry::server {

class SandboxMetrics {
 public:
  explicit SandboxMetrics(prometheus::Registry& registry);

  // Before the registry is read.
  void Update(const text::SandboxStats& stats);

 private:
  FollowingCounter calls_;
  FollowingCounter refused_;
  FollowingCounter starts_;
  std::array<FollowingCounter, std::tuple_size_v<decltype(text::SandboxStats::num_ends)>> ends_;
};

}  // namespace lorry::server
