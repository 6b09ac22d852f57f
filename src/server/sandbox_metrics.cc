#include "server/sandbox_metrics.h"

#include <array>
#include <string>
#include <utility>

namespace lorry::server {
namespace {

prometheus::ClientMetric Counted(const std::atomic<uint64_t>& count,
                                 std::vector<prometheus::ClientMetric::Label> labels = {}) {
  prometheus::ClientMetric metric;
  metric.label = std::move(labels);
  metric.counter.value = static_cast<double>(count.load());
  return metric;
}

prometheus::MetricFamily Family(std::string name, std::string help,
                                std::vector<prometheus::ClientMetric> metrics) {
  return {std::move(name), std::move(help), prometheus::MetricType::Counter, std::move(metrics)};
}

}  // namespace

void AppendSandboxMetrics(const text::SandboxStats& stats,
                          std::vector<prometheus::MetricFamily>& families) {
  // In the order of text::WorkerEnd.
  constexpr std::array kReasons = {"time", "memory", "crash", "stopped"};
  std::vector<prometheus::ClientMetric> ends;
  for (size_t i = 0; i < kReasons.size(); ++i) {
    ends.push_back(Counted(stats.num_ends[i], {{"reason", kReasons[i]}}));
  }
  families.push_back(Family("lorry:text_worker_calls_total",
                            "Calls of tokenizers and chat templates that adapters brought",
                            {Counted(stats.num_calls)}));
  families.push_back(Family("lorry:text_worker_refused_total",
                            "Such calls that were refused since those before went beyond a limit",
                            {Counted(stats.num_refused)}));
  families.push_back(Family("lorry:text_worker_starts_total",
                            "Worker processes that were started for such calls",
                            {Counted(stats.num_started)}));
  families.push_back(Family("lorry:text_worker_ends_total",
                            "Worker processes that a call ended, by the limit that it went beyond",
                            std::move(ends)));
}

}  // namespace lorry::server
