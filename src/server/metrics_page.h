// MetricsPage: the text of /metrics. Owns: the last one. Thread: any.
#pragma once

#include <prometheus/metric_family.h>

#include <atomic>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "base/clock.h"
#include "base/shared_value.h"

namespace lorry::server {

// The labels whose values are adapters' names, or say where adapters come from.
bool NamesAdapters(const std::string& label);

// The same series without those labels; what then has the same labels is added up.
std::vector<prometheus::MetricFamily> WithoutAdapterNames(
    std::vector<prometheus::MetricFamily> families);

class MetricsPage {
 public:
  using Collect = std::function<std::vector<prometheus::MetricFamily>()>;

  MetricsPage(Collect collect, const Clock& clock) : collect_(std::move(collect)), clock_(clock) {}

  std::string Now(bool shows_names) const;

  // For whoever asks without a key: written anew, but not over and over. Whoever asks very often
  // gets a page that is a little older.
  std::string Recent(bool shows_names);

 private:
  bool MayWrite();

  const Collect collect_;
  const Clock& clock_;
  SharedValue<std::string> last_;
  std::atomic<Micros> written_in_us_ = 0;  // the last one
  std::atomic<Micros> earned_at_us_ = 0;   // when the pages so far will have earned their time
};

}  // namespace lorry::server
