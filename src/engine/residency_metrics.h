// The page pool's side of the adapters' metrics: what is in the pool, what it cost to get it there
// and why it left. The other tiers use the same names (adapters/tier_metrics.h).
// Owns: handles into the registry. Thread: the engine's.
#pragma once

#include <prometheus/counter.h>
#include <prometheus/gauge.h>
#include <prometheus/histogram.h>
#include <prometheus/registry.h>

#include "engine/residency.h"

namespace lorry::engine {

class ResidencyMetrics {
 public:
  explicit ResidencyMetrics(prometheus::Registry& registry);

  void OnCopied(const AdapterCopied& copied);
  void Set(const ResidencyStats& stats, size_t page_bytes);

 private:
  prometheus::Gauge& bytes_;
  prometheus::Gauge& page_bytes_;
  prometheus::Gauge& count_;
  prometheus::Counter& hits_;
  prometheus::Counter& loads_;
  prometheus::Counter& moved_bytes_;
  prometheus::Counter& evicted_for_kv_;
  prometheus::Counter& evicted_for_adapters_;
  prometheus::Counter& removed_;
  prometheus::Histogram& copy_seconds_;
};

}  // namespace lorry::engine
