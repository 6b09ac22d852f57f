#include "bench/eviction_replay.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <ctime>
#include <fstream>
#include <limits>
#include <memory>
#include <optional>
#include <queue>
#include <set>
#include <utility>

#include "base/check.h"
#include "base/random.h"

namespace lorry::bench {
namespace {

using adapters::EvictionCost;

// Streams of random numbers.
enum Draw : uint32_t { kRankDraw, kAdapterDraw, kClientDraw, kLeaveDraw };

constexpr size_t kBytesPerRank = 625'000;  // the 135M shape, all linear modules: 10 MB at rank 16
// From the disk cache: to open and check it, then 1 GB/s.
constexpr Micros kFixedUs = 1'000;
constexpr size_t kBytesPerUs = 1'000;
constexpr Micros kUsPerGeneratedToken = 25'000;
// Far enough that none of the popular ones stays popular; prime, so that all take their turn.
constexpr int kShiftStride = 397;
constexpr int kClients = 32;
constexpr double kLeaveProbability = 1.0 / 7;

class ZipfDraws {
 public:
  ZipfDraws(int num_adapters, double exponent) {
    double total = 0;
    for (int i = 0; i < num_adapters; ++i) {
      total += std::pow(i + 1.0, -exponent);
      cumulative_.push_back(total);
    }
  }
  int At(double uniform) const {
    const auto found =
        std::lower_bound(cumulative_.begin(), cumulative_.end() - 1, uniform * cumulative_.back());
    return static_cast<int>(found - cumulative_.begin());
  }

 private:
  std::vector<double> cumulative_;
};

std::vector<EvictionCost> MakeCosts(const WorkloadOptions& options) {
  constexpr int kRanks[] = {8, 16, 32, 64, 128};
  std::vector<EvictionCost> costs;
  for (int i = 0; i < options.num_adapters; ++i) {
    const int which = static_cast<int>(UniformAt(options.seed, kRankDraw, i) * std::size(kRanks));
    const size_t bytes = kRanks[which] * kBytesPerRank;
    costs.push_back({bytes, kFixedUs + static_cast<Micros>(bytes / kBytesPerUs)});
  }
  return costs;
}

// [requests]: which adapter each asks for.
std::vector<int> DrawAdapters(const WorkloadOptions& options) {
  const ZipfDraws zipf(options.num_adapters, options.zipf);
  std::vector<int> client_adapter(kClients, -1);
  std::vector<int> drawn;
  for (int i = 0; i < options.num_requests; ++i) {
    int adapter = zipf.At(UniformAt(options.seed, kAdapterDraw, i));
    if (options.traffic == Traffic::kShift) {
      adapter = (adapter + i / kRequestsBetweenShifts * kShiftStride) % options.num_adapters;
    } else if (options.traffic == Traffic::kScan && i / kScanRequests % 5 == 4) {
      adapter = i % options.num_adapters;
    } else if (options.traffic == Traffic::kBursts) {
      int& stays_with =
          client_adapter[static_cast<size_t>(UniformAt(options.seed, kClientDraw, i) * kClients)];
      const bool leaves = UniformAt(options.seed, kLeaveDraw, i) < kLeaveProbability;
      if (stays_with < 0 || leaves) stays_with = adapter;
      adapter = stays_with;
    }
    drawn.push_back(adapter);
  }
  return drawn;
}

size_t TotalBytes(const std::vector<EvictionCost>& costs) {
  size_t total = 0;
  for (const EvictionCost& cost : costs) total += cost.bytes;
  return total;
}

// One tier under one policy, adapters by index.
class TierPolicy {
 public:
  virtual ~TierPolicy() = default;
  virtual void Use(int adapter) = 0;
  virtual void Insert(int adapter) = 0;
  virtual void Remove(int adapter) = 0;
  virtual void Pin(int adapter) = 0;
  virtual void Unpin(int adapter) = 0;
  virtual std::optional<std::vector<int>> Victims(size_t bytes) const = 0;
  virtual double half_life_uses() const { return 0; }
};

class ScoredTier : public TierPolicy {
 public:
  explicit ScoredTier(const Workload& workload) : workload_(workload) {}
  void Use(int adapter) override { policy_.OnUse(IdOf(adapter)); }
  void Insert(int adapter) override { policy_.OnInsert(IdOf(adapter), workload_.costs[adapter]); }
  void Remove(int adapter) override { policy_.OnRemove(IdOf(adapter)); }
  void Pin(int adapter) override { policy_.Pin(IdOf(adapter)); }
  void Unpin(int adapter) override { policy_.Unpin(IdOf(adapter)); }
  std::optional<std::vector<int>> Victims(size_t bytes) const override {
    const auto ids = policy_.Victims(bytes);
    if (!ids) return std::nullopt;
    std::vector<int> adapters;
    for (const AdapterId& id : *ids) adapters.push_back(AdapterOf(id));
    return adapters;
  }
  double half_life_uses() const override { return policy_.half_life_uses(); }

 private:
  static AdapterId IdOf(int adapter) {
    AdapterId id;
    std::memcpy(id.bytes.data(), &adapter, sizeof(adapter));
    return id;
  }
  static int AdapterOf(const AdapterId& id) {
    int adapter;
    std::memcpy(&adapter, id.bytes.data(), sizeof(adapter));
    return adapter;
  }

  const Workload& workload_;
  adapters::EvictionPolicy policy_;
};

// LRU, LFU and GDSF: a rank set at each use, the idle adapter of the lowest rank goes first.
class RankedTier : public TierPolicy {
 public:
  RankedTier(const Workload& workload, Algorithm algorithm)
      : workload_(workload), algorithm_(algorithm), states_(workload.costs.size()) {}

  void Use(int adapter) override {
    ++now_uses_;
    ++states_[adapter].num_uses;
    if (!states_[adapter].resident) return;  // Insert counts it
    const bool idle = idle_.erase({states_[adapter].rank, adapter}) > 0;
    SetRank(adapter);
    if (idle) idle_.insert({states_[adapter].rank, adapter});
  }
  void Insert(int adapter) override {
    states_[adapter].resident = true;
    states_[adapter].frequency = 0;
    SetRank(adapter);
    idle_.insert({states_[adapter].rank, adapter});
  }
  void Remove(int adapter) override {
    idle_.erase({states_[adapter].rank, adapter});
    floor_ = std::max(floor_, states_[adapter].rank);
    states_[adapter].resident = false;
  }
  void Pin(int adapter) override {
    if (states_[adapter].num_pins++ == 0) idle_.erase({states_[adapter].rank, adapter});
  }
  void Unpin(int adapter) override {
    if (--states_[adapter].num_pins == 0) idle_.insert({states_[adapter].rank, adapter});
  }
  std::optional<std::vector<int>> Victims(size_t bytes) const override {
    std::vector<int> adapters;
    size_t given = 0;
    for (auto next = idle_.begin(); next != idle_.end() && given < bytes; ++next) {
      adapters.push_back(next->second);
      given += workload_.costs[next->second].bytes;
    }
    if (given < bytes) return std::nullopt;
    return adapters;
  }

 private:
  struct State {
    bool resident = false;
    int num_pins = 0;
    uint64_t num_uses = 0;  // ever
    double frequency = 0;   // since it came
    double rank = 0;
  };

  void SetRank(int adapter) {
    State& state = states_[adapter];
    const EvictionCost& cost = workload_.costs[adapter];
    state.frequency += 1;
    if (algorithm_ == Algorithm::kLru) state.rank = static_cast<double>(now_uses_);
    if (algorithm_ == Algorithm::kLfu) state.rank = static_cast<double>(state.num_uses);
    if (algorithm_ == Algorithm::kGdsf) {
      state.rank = floor_ + state.frequency * static_cast<double>(cost.bring_back_us) /
                                static_cast<double>(cost.bytes);
    }
  }

  const Workload& workload_;
  const Algorithm algorithm_;
  std::vector<State> states_;
  std::set<std::pair<double, int>> idle_;
  uint64_t now_uses_ = 0;
  double floor_ = 0;  // GDSF's L: the rank of what left last
};

std::unique_ptr<TierPolicy> MakeTier(const Workload& workload, Algorithm algorithm) {
  if (algorithm == Algorithm::kScored) return std::make_unique<ScoredTier>(workload);
  return std::make_unique<RankedTier>(workload, algorithm);
}

class Replayer {
 public:
  Replayer(const Workload& workload, Algorithm algorithm, size_t capacity_bytes)
      : workload_(workload),
        free_bytes_(capacity_bytes),
        resident_(workload.costs.size()),
        tier_(MakeTier(workload, algorithm)) {}

  ReplayResult Run() {
    const std::clock_t begin = std::clock();
    for (const ReplayRequest& request : workload_.requests) Serve(request);
    result_.policy_s = static_cast<double>(std::clock() - begin) / CLOCKS_PER_SEC;
    result_.half_life_uses = tier_->half_life_uses();
    return std::move(result_);
  }

 private:
  void Serve(const ReplayRequest& request) {
    while (!in_use_.empty() && in_use_.top().first <= request.arrival_us) EndOldest();
    tier_->Use(request.adapter);
    result_.hit.push_back(resident_[request.adapter]);
    if (resident_[request.adapter]) {
      ++result_.num_hits;
    } else {
      Fetch(request.adapter);
    }
    tier_->Pin(request.adapter);
    in_use_.push({request.end_us, request.adapter});
  }

  void Fetch(int adapter) {
    const EvictionCost& cost = workload_.costs[adapter];
    if (cost.bytes > free_bytes_) {
      auto victims = tier_->Victims(cost.bytes - free_bytes_);
      while (!victims) {
        CHECK_MSG(!in_use_.empty(), "the tier is smaller than an adapter");
        ++result_.num_waits;
        EndOldest();
        victims = tier_->Victims(cost.bytes - free_bytes_);
      }
      for (const int victim : *victims) {
        tier_->Remove(victim);
        resident_[victim] = false;
        free_bytes_ += workload_.costs[victim].bytes;
      }
    }
    free_bytes_ -= cost.bytes;
    resident_[adapter] = true;
    tier_->Insert(adapter);
    result_.fetched_bytes += cost.bytes;
    result_.fetched_us += cost.bring_back_us;
  }

  void EndOldest() {
    tier_->Unpin(in_use_.top().second);
    in_use_.pop();
  }

  using End = std::pair<Micros, int>;
  const Workload& workload_;
  size_t free_bytes_;
  std::vector<bool> resident_;  // [adapters]
  std::unique_ptr<TierPolicy> tier_;
  std::priority_queue<End, std::vector<End>, std::greater<>> in_use_;
  ReplayResult result_;
};

}  // namespace

Workload MakeWorkload(const WorkloadOptions& options) {
  Workload workload{.costs = MakeCosts(options), .requests = {}};
  workload.total_bytes = TotalBytes(workload.costs);
  Micros now_us = 0;
  for (const int adapter : DrawAdapters(options)) {
    workload.requests.push_back({adapter, now_us, now_us + options.num_in_flight});
    ++now_us;
  }
  return workload;
}

Result<Workload> LoadWorkload(const std::string& file, const WorkloadOptions& options) {
  std::ifstream stream(file);
  if (!stream) return Fail(ErrorCode::kNotFound, fmt::format("cannot read {}", file));
  std::string line;
  std::getline(stream, line);  // the heading
  std::vector<ReplayRequest> requests;
  for (int number = 2; std::getline(stream, line); ++number) {
    if (line.empty() || line == "\r") continue;
    std::tm time{};
    double second = 0;
    long long context_tokens = 0, generated_tokens = 0;
    if (std::sscanf(line.c_str(), "%d-%d-%d %d:%d:%lf,%lld,%lld", &time.tm_year, &time.tm_mon,
                    &time.tm_mday, &time.tm_hour, &time.tm_min, &second, &context_tokens,
                    &generated_tokens) != 8 ||
        generated_tokens < 0 || generated_tokens > 1 << 24) {
      return Fail(
          ErrorCode::kInvalidArgument,
          fmt::format("{}:{}: not `TIMESTAMP,ContextTokens,GeneratedTokens`", file, number));
    }
    time.tm_year -= 1900;
    time.tm_mon -= 1;
    const Micros arrival_us =
        static_cast<Micros>(timegm(&time)) * 1'000'000 + static_cast<Micros>(second * 1e6);
    requests.push_back({0, arrival_us, arrival_us + generated_tokens * kUsPerGeneratedToken});
  }
  if (requests.empty()) return Fail(ErrorCode::kInvalidArgument, file + ": no requests");
  std::sort(requests.begin(), requests.end(), [](const auto& a, const auto& b) {
    return std::pair(a.arrival_us, a.end_us) < std::pair(b.arrival_us, b.end_us);
  });
  WorkloadOptions drawn = options;
  drawn.num_requests = static_cast<int>(requests.size());
  Workload workload{.costs = MakeCosts(options), .requests = std::move(requests)};
  workload.total_bytes = TotalBytes(workload.costs);
  const std::vector<int> adapters = DrawAdapters(drawn);
  for (size_t i = 0; i < adapters.size(); ++i) workload.requests[i].adapter = adapters[i];
  return workload;
}

ReplayResult Replay(const Workload& workload, Algorithm algorithm, size_t capacity_bytes) {
  return Replayer(workload, algorithm, capacity_bytes).Run();
}

size_t FetchBound(const Workload& workload, size_t capacity_bytes) {
  constexpr size_t kNever = std::numeric_limits<size_t>::max();
  std::vector<size_t> next_use(workload.requests.size()), later(workload.costs.size(), kNever);
  for (size_t i = workload.requests.size(); i-- > 0;) {
    next_use[i] = std::exchange(later[workload.requests[i].adapter], i);
  }
  std::vector<size_t> kept_bytes(workload.costs.size(), 0), kept_until(workload.costs.size(), 0);
  std::set<std::pair<size_t, int>> kept;  // by next use
  size_t total_bytes = 0, fetched_bytes = 0;
  for (size_t i = 0; i < workload.requests.size(); ++i) {
    const int adapter = workload.requests[i].adapter;
    const size_t missing_bytes = workload.costs[adapter].bytes - kept_bytes[adapter];
    fetched_bytes += missing_bytes;
    total_bytes += missing_bytes;
    kept.erase({kept_until[adapter], adapter});
    kept_bytes[adapter] += missing_bytes;
    kept_until[adapter] = next_use[i];
    kept.insert({next_use[i], adapter});
    while (total_bytes > capacity_bytes) {
      const int last = kept.rbegin()->second;
      const size_t given_bytes = std::min(kept_bytes[last], total_bytes - capacity_bytes);
      kept_bytes[last] -= given_bytes;
      total_bytes -= given_bytes;
      if (kept_bytes[last] == 0) kept.erase({kept_until[last], last});
    }
  }
  return fetched_bytes;
}

}  // namespace lorry::bench
