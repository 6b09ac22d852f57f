// Requests for adapters replayed against one tier of so many bytes, under an eviction policy: what
// had to be fetched. Owns: nothing. Thread: the caller's. Never: loads anything; the same workload
// gives the same result.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "adapters/eviction_policy.h"
#include "base/clock.h"
#include "base/result.h"

namespace lorry::bench {

enum class Traffic {
  kSteady,  // independent draws, popularity of the i-th adapter 1 / i^zipf
  kShift,   // the same, and every kRequestsBetweenShifts requests other adapters are the popular
            // ones
  kScan,    // the same, and every fifth kScanRequests requests walk all adapters in turn
  kBursts,  // 32 clients that stay with an adapter for seven requests on average
};
inline constexpr int kRequestsBetweenShifts = 10'000;
inline constexpr int kScanRequests = 2'000;

struct WorkloadOptions {
  Traffic traffic = Traffic::kSteady;
  double zipf = 1.0;
  int num_adapters = 2000;  // ranks 8, 16, 32, 64, 128, drawn
  int num_requests = 100'000;
  int num_in_flight = 16;  // an adapter is in use until so many later requests have come
  uint64_t seed = 1;
};

// `adapter` is in use from arrival to end.
struct ReplayRequest {
  int adapter = 0;
  Micros arrival_us = 0;
  Micros end_us = 0;
};

struct Workload {
  std::vector<adapters::EvictionCost> costs;  // [adapters]
  std::vector<ReplayRequest> requests;        // by arrival
  size_t total_bytes = 0;                     // of all adapters
};

Workload MakeWorkload(const WorkloadOptions& options);

// Arrivals and lengths of answers from a CSV file (TIMESTAMP, ContextTokens, GeneratedTokens: the
// form of the Azure LLM inference traces), adapters drawn as `options` say: such traces name none.
Result<Workload> LoadWorkload(const std::string& file, const WorkloadOptions& options);

enum class Algorithm {
  kScored,  // adapters::EvictionPolicy
  kLru,
  kLfu,   // all uses ever, remembered for all adapters
  kGdsf,  // Cherkasova's, cost = time to bring back, nothing remembered of what has left
};

struct ReplayResult {
  size_t fetched_bytes = 0;
  Micros fetched_us = 0;  // the time to bring them back, added up
  std::vector<bool> hit;  // [requests]
  size_t num_hits = 0;
  size_t num_waits = 0;       // times that a fetch waited for an adapter in use to become idle
  double half_life_uses = 0;  // scored: the one chosen at the end
  double policy_s = 0;        // processor time of the whole replay

  double HitShare() const {
    return static_cast<double>(num_hits) / static_cast<double>(hit.size());
  }
};

// capacity_bytes: at least the largest adapter.
ReplayResult Replay(const Workload& workload, Algorithm algorithm, size_t capacity_bytes);

// No policy, even one that knows the future, fetches less: Belady's MIN on single bytes, as if
// parts of an adapter could stay. MIN is optimal for units of one size and cost (Belady, IBM
// Systems Journal 5(2), 1966), and whoever must keep adapters whole or in use can only do worse.
size_t FetchBound(const Workload& workload, size_t capacity_bytes);

}  // namespace lorry::bench
