#include "server/sandbox_metrics.h"

namespace lorry::server {
namespace {

prometheus::Counter& Add(prometheus::Registry& registry, const char* name, const char* help,
                         const prometheus::Labels& labels = {}) {
  return prometheus::BuildCounter().Name(name).Help(help).Register(registry).Add(labels);
}

prometheus::Counter& Ends(prometheus::Registry& registry, const char* reason) {
  return Add(registry, "lorry:text_worker_ends_total",
             "Worker processes that a call ended, by the limit that it went beyond",
             {{"reason", reason}});
}

}  // namespace

SandboxMetrics::SandboxMetrics(prometheus::Registry& registry)
    : calls_{Add(registry, "lorry:text_worker_calls_total",
                 "Calls of tokenizers and chat templates that adapters brought")},
      refused_{Add(registry, "lorry:text_worker_refused_total",
                   "Such calls that were refused since those before went beyond a limit")},
      starts_{Add(registry, "lorry:text_worker_starts_total",
                  "Worker processes that were started for such calls")},
      // In the order of text::WorkerEnd.
      ends_{{{Ends(registry, "time")},
             {Ends(registry, "memory")},
             {Ends(registry, "crash")},
             {Ends(registry, "stopped")}}} {}

void SandboxMetrics::Update(const text::SandboxStats& stats) {
  calls_.RaiseTo(stats.num_calls);
  refused_.RaiseTo(stats.num_refused);
  starts_.RaiseTo(stats.num_started);
  for (size_t i = 0; i < ends_.size(); ++i) ends_[i].RaiseTo(stats.num_ends[i]);
}

}  // namespace lorry::server
