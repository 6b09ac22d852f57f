// The metrics of the tiers below the page pool (engine/residency_metrics.h has the pool's, under
// the same names). Owns: handles into the registry. Thread: the catalogue's.
#pragma once

#include <prometheus/counter.h>
#include <prometheus/family.h>
#include <prometheus/gauge.h>
#include <prometheus/histogram.h>
#include <prometheus/registry.h>

#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "adapters/disk_cache.h"
#include "adapters/load_adapter.h"
#include "request/adapter_service.h"

namespace lorry::adapters {

// A name whose weights are in memory. The name is viewed.
struct LoadedName {
  std::string_view name;
  bool is_in_pool = false;  // else: on the host
  bool is_pinned = false;
  int max_rank = 0;
};

class TierMetrics {
 public:
  explicit TierMetrics(prometheus::Registry& registry);

  void OnHit(AdapterTier tier);  // where a request found its adapter's weights
  void OnLoaded(const Loaded& loaded);
  void OnWritten(size_t num_bytes, Micros write_us);
  void OnFailed(const Error& error);
  void SetDisk(const DiskCacheStats& stats);
  void SetHost(size_t num_images, size_t num_bytes, uint64_t num_evicted);
  void SetNames(size_t num_names);
  // held_bytes: of the adapters that requests hold which do not run yet.
  void SetWaiting(size_t num_requests, size_t held_bytes);
  // For routers that send requests to where an adapter already is. Of more than a scrape should
  // hold, those in the pool come first.
  void SetLoaded(std::vector<LoadedName> loaded);

 private:
  struct LoadedSeries {
    prometheus::Gauge* gauge;
    prometheus::Labels labels;
  };

  prometheus::Family<prometheus::Gauge>& bytes_;
  prometheus::Family<prometheus::Gauge>& count_;
  prometheus::Family<prometheus::Counter>& hits_;
  prometheus::Family<prometheus::Counter>& loads_;
  prometheus::Family<prometheus::Counter>& moved_bytes_;
  prometheus::Family<prometheus::Counter>& evictions_;
  prometheus::Family<prometheus::Counter>& failures_;
  prometheus::Family<prometheus::Histogram>& load_seconds_;
  prometheus::Gauge& names_;
  prometheus::Gauge& waiting_;
  prometheus::Gauge& waiting_bytes_;
  prometheus::Family<prometheus::Gauge>& loaded_;
  std::unordered_map<std::string, LoadedSeries> loaded_now_;  // by name
};

}  // namespace lorry::adapters
