#include "server/metrics_page.h"

#include <prometheus/text_serializer.h>

#include <algorithm>
#include <array>
#include <map>
#include <string_view>

namespace lorry::server {
namespace {

using prometheus::ClientMetric;
using prometheus::MetricFamily;

constexpr int kWaitPerWork = 10;  // pages take a tenth of one thread's time
constexpr int kAtOnce = 50;       // pages, after a quiet time

void Add(ClientMetric& sum, const ClientMetric& other) {
  sum.counter.value += other.counter.value;
  sum.gauge.value += other.gauge.value;
  sum.untyped.value += other.untyped.value;
  sum.histogram.sample_count += other.histogram.sample_count;
  sum.histogram.sample_sum += other.histogram.sample_sum;
  auto& buckets = sum.histogram.bucket;  // a histogram's series have the same ones
  for (size_t i = 0; i < buckets.size() && i < other.histogram.bucket.size(); ++i) {
    buckets[i].cumulative_count += other.histogram.bucket[i].cumulative_count;
  }
}

MetricFamily WithoutNames(MetricFamily family) {
  std::map<std::vector<std::pair<std::string, std::string>>, size_t> places;
  std::vector<ClientMetric> kept;
  for (ClientMetric& metric : family.metric) {
    std::erase_if(metric.label, [](const auto& label) { return NamesAdapters(label.name); });
    std::vector<std::pair<std::string, std::string>> labels;
    for (const auto& label : metric.label) labels.emplace_back(label.name, label.value);
    const auto [place, is_new] = places.emplace(std::move(labels), kept.size());
    if (is_new) {
      kept.push_back(std::move(metric));
    } else {
      Add(kept[place->second], metric);
    }
  }
  family.metric = std::move(kept);
  return family;
}

}  // namespace

bool NamesAdapters(const std::string& label) {
  constexpr std::array<std::string_view, 5> kLabels = {
      "adapter", "adapter_name", "running_lora_adapters", "waiting_lora_adapters", "source"};
  return std::ranges::find(kLabels, label) != kLabels.end();
}

std::string MetricsPage::Now(bool shows_names) const {
  std::vector<MetricFamily> families = collect_();
  if (!shows_names) families = WithoutAdapterNames(std::move(families));
  return prometheus::TextSerializer().Serialize(families);
}

std::string MetricsPage::Recent(bool shows_names) {
  const std::shared_ptr<const std::string> last = last_.Get();
  if (last && !MayWrite()) return *last;
  const Micros begin_us = clock_.NowUs();
  std::string text = Now(shows_names);
  written_in_us_ = clock_.NowUs() - begin_us;
  last_.Set(std::make_shared<const std::string>(text));
  return text;
}

bool MetricsPage::MayWrite() {
  const Micros now_us = clock_.NowUs();
  const Micros price_us = kWaitPerWork * written_in_us_;
  Micros earned_at_us = earned_at_us_;
  Micros next_us;
  do {
    if (earned_at_us > now_us + (kAtOnce - 1) * price_us) return false;
    next_us = std::max(earned_at_us, now_us) + price_us;
  } while (!earned_at_us_.compare_exchange_weak(earned_at_us, next_us));
  return true;
}

std::vector<MetricFamily> WithoutAdapterNames(std::vector<MetricFamily> families) {
  for (MetricFamily& family : families) {
    const bool has_names = std::ranges::any_of(family.metric, [](const ClientMetric& metric) {
      return std::ranges::any_of(metric.label,
                                 [](const auto& label) { return NamesAdapters(label.name); });
    });
    if (has_names) family = WithoutNames(std::move(family));
  }
  return families;
}

}  // namespace lorry::server
