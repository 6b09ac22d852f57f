// The picture of `lorry top`: two looks at a server and the time between them, as lines of text.
// Owns: nothing. Thread: any. Pure.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "apps/metrics_text.h"

namespace lorry::apps {

// What /v1/adapters adds to the metrics.
struct TopAdapter {
  std::string tier;
  int64_t rank = 0;
  int64_t num_bytes = 0;
  int64_t num_waiting = 0;
  std::string note;  // "pinned, loading"
};

struct TopLook {
  double at_s = 0;  // of any clock
  MetricsText metrics;
  std::map<std::string, TopAdapter> adapters;  // by name; empty without an admin key
};

struct TopSize {
  int columns = 100;
  int rows = 40;
};

// `rows` lines at most, none longer than `columns` characters. The hottest adapters fill what is
// left below the rest.
std::vector<std::string> RenderTop(const std::string& url, const TopLook& before,
                                   const TopLook& now, const TopSize& size);

}  // namespace lorry::apps
