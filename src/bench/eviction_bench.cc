#include "bench/eviction_bench.h"

#include <algorithm>
#include <boost/json.hpp>
#include <cstdio>

#include "bench/eviction_replay.h"

namespace lorry::bench {
namespace {

namespace json = boost::json;

struct NamedTraffic {
  const char* name;
  Traffic traffic;
};
constexpr NamedTraffic kTraffics[] = {{"steady", Traffic::kSteady},
                                      {"shift", Traffic::kShift},
                                      {"scan", Traffic::kScan},
                                      {"bursts", Traffic::kBursts}};

template <typename Number>
double Ratio(Number value, Number to) {
  return to == 0 ? 1 : static_cast<double>(value) / static_cast<double>(to);
}

struct Comparison {
  double zipf = 0;
  const char* traffic = "";
  double capacity_percent = 0;
  ReplayResult lru, scored, lfu, gdsf;
  size_t bound_bytes = 0;

  void Print() const {
    fmt::print(
        "{:>4.1f}  {:<7}{:>8.1f}{:>10.1f}{:>7.1f}{:>9.1f}{:>7.1f}{:>11.3f}{:>7.3f}{:>7.3f}{:>7.3f}"
        "{:>7.3f}{:>11.0f}\n",
        zipf, traffic, capacity_percent, static_cast<double>(lru.fetched_bytes) * 1e-9,
        100 * lru.HitShare(), static_cast<double>(scored.fetched_bytes) * 1e-9,
        100 * scored.HitShare(), Ratio(scored.fetched_bytes, lru.fetched_bytes),
        Ratio(scored.fetched_us, lru.fetched_us), Ratio(lfu.fetched_bytes, lru.fetched_bytes),
        Ratio(gdsf.fetched_bytes, lru.fetched_bytes), Ratio(bound_bytes, lru.fetched_bytes),
        scored.half_life_uses);
    std::fflush(stdout);
  }
  json::object ToJson() const {
    return {{"zipf", zipf},
            {"traffic", traffic},
            {"capacity_percent", capacity_percent},
            {"lru_bytes", lru.fetched_bytes},
            {"scored_bytes", scored.fetched_bytes},
            {"lfu_bytes", lfu.fetched_bytes},
            {"gdsf_bytes", gdsf.fetched_bytes},
            {"bound_bytes", bound_bytes},
            {"lru_hit_share", lru.HitShare()},
            {"scored_hit_share", scored.HitShare()},
            {"lru_us", lru.fetched_us},
            {"scored_us", scored.fetched_us},
            {"half_life_uses", scored.half_life_uses}};
  }
};

void PrintHeading() {
  fmt::print("{:>32}{:>17}{:>13}\n", "LRU", "scored", "over LRU's:");
  fmt::print("{:<6}{:<7}{:>8}{:>10}{:>7}{:>9}{:>7}{:>11}{:>7}{:>7}{:>7}{:>7}{:>11}\n", "zipf",
             "traffic", "room %", "GB", "hit %", "GB", "hit %", "GB", "time", "LFU", "GDSF",
             "bound", "half-life");
}

// kInvalidArgument when the tier would not hold one adapter.
Result<Comparison> Compare(const Workload& workload, double capacity_percent) {
  const auto capacity_bytes =
      static_cast<size_t>(static_cast<double>(workload.total_bytes) * capacity_percent / 100);
  for (const adapters::EvictionCost& cost : workload.costs) {
    if (cost.bytes <= capacity_bytes) continue;
    return Fail(ErrorCode::kInvalidArgument,
                fmt::format("{} % of the adapters' bytes, {}, do not hold one of {} bytes",
                            capacity_percent, capacity_bytes, cost.bytes),
                "capacity");
  }
  return Comparison{.capacity_percent = capacity_percent,
                    .lru = Replay(workload, Algorithm::kLru, capacity_bytes),
                    .scored = Replay(workload, Algorithm::kScored, capacity_bytes),
                    .lfu = Replay(workload, Algorithm::kLfu, capacity_bytes),
                    .gdsf = Replay(workload, Algorithm::kGdsf, capacity_bytes),
                    .bound_bytes = FetchBound(workload, capacity_bytes)};
}

}  // namespace

Result<json::object> RunEvictionBench(const EvictionBenchOptions& options) {
  if (options.num_adapters < 1) {
    return Fail(ErrorCode::kInvalidArgument, "at least one adapter", "adapters");
  }
  json::array rows;
  double policy_s = 0;
  size_t num_replayed = 0;
  for (const double zipf : options.zipf) {
    for (const NamedTraffic& named : kTraffics) {
      const WorkloadOptions drawn{.traffic = named.traffic,
                                  .zipf = zipf,
                                  .num_adapters = options.num_adapters,
                                  .num_requests = options.num_requests};
      Workload workload;
      if (options.trace.empty()) {
        workload = MakeWorkload(drawn);
      } else {
        ASSIGN_OR_RETURN(workload, LoadWorkload(options.trace, drawn));
      }
      if (rows.empty()) {
        fmt::print("{} adapters of ranks 8 to 128, {:.1f} GB; {} requests{}\n\n",
                   options.num_adapters, static_cast<double>(workload.total_bytes) * 1e-9,
                   workload.requests.size(),
                   options.trace.empty() ? ", 16 in flight" : " at the times of the trace");
        PrintHeading();
      }
      for (const double percent : options.capacity_percent) {
        ASSIGN_OR_RETURN(Comparison row, Compare(workload, percent));
        row.zipf = zipf;
        row.traffic = named.name;
        row.Print();
        rows.push_back(row.ToJson());
        policy_s += row.scored.policy_s;
        num_replayed += workload.requests.size();
      }
    }
  }
  const double us_per_request =
      policy_s * 1e6 / static_cast<double>(std::max<size_t>(num_replayed, 1));
  fmt::print("\nthe scored policy took {:.1f} us of processor time per request\n", us_per_request);
  return json::object{{"adapters", options.num_adapters},
                      {"policy_us_per_request", us_per_request},
                      {"rows", std::move(rows)}};
}

}  // namespace lorry::bench
