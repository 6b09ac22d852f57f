#include "adapters/tier_metrics.h"

#include <algorithm>
#include <tuple>
#include <utility>

namespace lorry::adapters {
namespace {

using Labels = prometheus::Labels;

prometheus::Family<prometheus::Gauge>& Gauges(prometheus::Registry& registry, const char* name,
                                              const char* help) {
  return prometheus::BuildGauge().Name(name).Help(help).Register(registry);
}

prometheus::Family<prometheus::Counter>& Counters(prometheus::Registry& registry, const char* name,
                                                  const char* help) {
  return prometheus::BuildCounter().Name(name).Help(help).Register(registry);
}

Labels Tier(std::string_view tier) { return {{"tier", std::string(tier)}}; }

void Observe(prometheus::Family<prometheus::Histogram>& family, const char* stage, Micros us) {
  if (us == 0) return;
  static const prometheus::Histogram::BucketBoundaries kSeconds = {
      .001, .002, .005, .01, .02, .05, .1, .2, .5, 1, 2, 5, 10, 30, 60, 120};
  family.Add({{"stage", stage}}, kSeconds).Observe(static_cast<double>(us) * 1e-6);
}

void RaiseTo(prometheus::Counter& counter, uint64_t total) {
  const double step = static_cast<double>(total) - counter.Value();
  if (step > 0) counter.Increment(step);
}

}  // namespace

TierMetrics::TierMetrics(prometheus::Registry& registry)
    : bytes_(Gauges(registry, "lorry:adapter_tier_bytes", "Of the adapters in a tier.")),
      count_(Gauges(registry, "lorry:adapter_tier_count", "Adapters in a tier.")),
      hits_(Counters(registry, "lorry:adapter_hits_total",
                     "Requests that found their adapter in a tier.")),
      loads_(Counters(registry, "lorry:adapter_loads_total", "Adapters brought to a tier.")),
      moved_bytes_(
          Counters(registry, "lorry:adapter_moved_bytes_total", "Bytes brought to a tier.")),
      evictions_(Counters(registry, "lorry:adapter_evictions_total",
                          "Adapters that left a tier, by what needed their room.")),
      failures_(Counters(registry, "lorry:adapter_load_failures_total",
                         "Loads that ended with an error, by its kind.")),
      load_seconds_(prometheus::BuildHistogram()
                        .Name("lorry:adapter_load_seconds")
                        .Help("What an adapter's way up takes, by stage.")
                        .Register(registry)),
      names_(Gauges(registry, "lorry:adapter_names", "Adapters that can be asked for.").Add({})),
      waiting_(Gauges(registry, "lorry:adapter_waiting_requests",
                      "Requests that wait for an adapter's weights.")
                   .Add({})),
      waiting_bytes_(Gauges(registry, "lorry:adapter_waiting_bytes",
                            "Of adapters that requests hold which do not run yet.")
                         .Add({})),
      loaded_(Gauges(registry, "vllm:lora_adapter_loaded", "Adapters in memory; the value is 1.")) {
}

void TierMetrics::OnHit(AdapterTier tier) { hits_.Add(Tier(AdapterTierName(tier))).Increment(); }

void TierMetrics::OnLoaded(const Loaded& loaded) {
  loads_.Add(Tier("host")).Increment();
  moved_bytes_.Add(Tier("host")).Increment(static_cast<double>(loaded.image->blob.size()));
  Observe(load_seconds_, "fetch", loaded.times.fetch_us);
  Observe(load_seconds_, "check", loaded.times.check_us);
  Observe(load_seconds_, "pack", loaded.times.pack_us);
  Observe(load_seconds_, "open", loaded.times.open_us);
}

void TierMetrics::OnWritten(size_t num_bytes, Micros write_us) {
  loads_.Add(Tier("disk")).Increment();
  moved_bytes_.Add(Tier("disk")).Increment(static_cast<double>(num_bytes));
  Observe(load_seconds_, "write", write_us);
}

void TierMetrics::OnFailed(const Error& error) {
  failures_.Add({{"code", std::string(ErrorCodeName(error.code))}}).Increment();
}

void TierMetrics::SetDisk(const DiskCacheStats& stats) {
  bytes_.Add(Tier("disk")).Set(static_cast<double>(stats.num_bytes));
  count_.Add(Tier("disk")).Set(static_cast<double>(stats.num_files));
  RaiseTo(evictions_.Add({{"tier", "disk"}, {"reason", "adapter"}}), stats.num_evicted);
}

void TierMetrics::SetHost(size_t num_images, size_t num_bytes, uint64_t num_evicted) {
  bytes_.Add(Tier("host")).Set(static_cast<double>(num_bytes));
  count_.Add(Tier("host")).Set(static_cast<double>(num_images));
  RaiseTo(evictions_.Add({{"tier", "host"}, {"reason", "adapter"}}), num_evicted);
}

void TierMetrics::SetNames(size_t num_names) { names_.Set(static_cast<double>(num_names)); }

void TierMetrics::SetWaiting(size_t num_requests, size_t held_bytes) {
  waiting_.Set(static_cast<double>(num_requests));
  waiting_bytes_.Set(static_cast<double>(held_bytes));
}

void TierMetrics::SetLoaded(std::vector<LoadedName> loaded) {
  constexpr size_t kMaxSeries = 4096;
  std::sort(loaded.begin(), loaded.end(), [](const LoadedName& a, const LoadedName& b) {
    return std::tie(b.is_in_pool, a.name) < std::tie(a.is_in_pool, b.name);
  });
  if (loaded.size() > kMaxSeries) loaded.resize(kMaxSeries);
  auto before = std::exchange(loaded_now_, {});
  for (const LoadedName& adapter : loaded) {
    std::string name(adapter.name);
    Labels labels = {{"adapter_name", name},
                     {"level", adapter.is_in_pool ? "gpu" : "cpu"},
                     {"pinned", adapter.is_pinned ? "true" : "false"},
                     {"rank", std::to_string(adapter.max_rank)}};
    const auto same = before.find(name);
    if (same != before.end() && same->second.labels == labels) {
      loaded_now_.insert(before.extract(same));
      continue;
    }
    prometheus::Gauge& gauge = loaded_.Add(labels);
    gauge.Set(1);
    loaded_now_.emplace(std::move(name), LoadedSeries{&gauge, std::move(labels)});
  }
  for (const auto& [name, series] : before) loaded_.Remove(series.gauge);
}

}  // namespace lorry::adapters
