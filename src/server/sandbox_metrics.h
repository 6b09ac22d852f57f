// The metrics of the workers that run what adapters bring of text.
// Owns: nothing.
// Thread: any.
#pragma once

#include <prometheus/metric_family.h>

#include <vector>

#include "text/text_sandbox.h"

namespace lorry::server {

void AppendSandboxMetrics(const text::SandboxStats& stats,
                          std::vector<prometheus::MetricFamily>& families);

}  // namespace lorry::server
