#include "engine/residency_metrics.h"

namespace lorry::engine {
namespace {

using Labels = prometheus::Labels;

prometheus::Gauge& PoolGauge(prometheus::Registry& registry, const char* name, const char* help) {
  return prometheus::BuildGauge().Name(name).Help(help).Register(registry).Add({{"tier", "pool"}});
}

prometheus::Counter& PoolCounter(prometheus::Registry& registry, const char* name, const char* help,
                                 Labels labels = {}) {
  labels["tier"] = "pool";
  return prometheus::BuildCounter().Name(name).Help(help).Register(registry).Add(labels);
}

prometheus::Counter& Evictions(prometheus::Registry& registry, const char* reason) {
  return PoolCounter(registry, "lorry:adapter_evictions_total",
                     "Adapters that left a tier, by what needed their room.", {{"reason", reason}});
}

// Counters only grow, and the stats are totals.
void RaiseTo(prometheus::Counter& counter, uint64_t total) {
  const double step = static_cast<double>(total) - counter.Value();
  if (step > 0) counter.Increment(step);
}

}  // namespace

ResidencyMetrics::ResidencyMetrics(prometheus::Registry& registry)
    : bytes_(PoolGauge(registry, "lorry:adapter_tier_bytes", "Of the adapters in a tier.")),
      page_bytes_(PoolGauge(registry, "lorry:adapter_page_bytes",
                            "Of the pages that adapters hold, rounding included.")),
      count_(PoolGauge(registry, "lorry:adapter_tier_count", "Adapters in a tier.")),
      hits_(PoolCounter(registry, "lorry:adapter_hits_total",
                        "Requests that found their adapter in a tier.")),
      loads_(PoolCounter(registry, "lorry:adapter_loads_total", "Adapters brought to a tier.")),
      moved_bytes_(
          PoolCounter(registry, "lorry:adapter_moved_bytes_total", "Bytes brought to a tier.")),
      evicted_for_kv_(Evictions(registry, "kv")),
      evicted_for_adapters_(Evictions(registry, "adapter")),
      removed_(Evictions(registry, "removed")),
      copy_seconds_(prometheus::BuildHistogram()
                        .Name("lorry:adapter_load_seconds")
                        .Help("What an adapter's way up takes, by stage.")
                        .Register(registry)
                        .Add({{"stage", "copy"}}, prometheus::Histogram::BucketBoundaries{
                                                      .001, .002, .005, .01, .02, .05, .1, .2, .5,
                                                      1, 2, 5, 10, 30, 60, 120})) {}

void ResidencyMetrics::OnCopied(const AdapterCopied& copied) {
  copy_seconds_.Observe(static_cast<double>(copied.copy_us) * 1e-6);
}

void ResidencyMetrics::Set(const ResidencyStats& stats, size_t page_bytes) {
  bytes_.Set(static_cast<double>(stats.num_bytes));
  page_bytes_.Set(static_cast<double>(stats.num_pages) * static_cast<double>(page_bytes));
  count_.Set(stats.num_resident);
  RaiseTo(hits_, stats.num_hits);
  RaiseTo(loads_, stats.num_loads);
  RaiseTo(moved_bytes_, stats.loaded_bytes);
  RaiseTo(evicted_for_kv_, stats.num_evicted_for_kv);
  RaiseTo(evicted_for_adapters_, stats.num_evicted_for_adapters);
  RaiseTo(removed_, stats.num_dropped);
}

}  // namespace lorry::engine
