// A request's adapters are a weighted sum; most have one, with weight 1. Thread: any, plain data.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "request/adapter_handle.h"

namespace lorry {

inline constexpr int kMaxAdapterTerms = 8;         // of one request
inline constexpr double kMaxAdapterWeight = 1000;  // as far from 0 as a weight may be

// Where a request's own adapter comes from.
struct AdapterSource {
  std::string uri;    // as the client wrote it: may hold secrets, so it is never shown
  std::string token;  // for it; never shown either
};

struct AdapterTerm {
  std::string name;  // as clients know it: for metrics and logs
  float weight = 1;
  std::shared_ptr<const AdapterHandle> handle;  // null: its weights are not at hand yet
  std::optional<AdapterSource> source;  // no registered name's, but this one's weights are wanted
};

}  // namespace lorry
