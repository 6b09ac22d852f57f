// A request's adapters are a weighted sum; most have one, with weight 1. Thread: any, plain data.
#pragma once

#include <memory>
#include <string>

#include "request/adapter_handle.h"

namespace lorry {

inline constexpr int kMaxAdapterTerms = 8;         // of one request
inline constexpr double kMaxAdapterWeight = 1000;  // as far from 0 as a weight may be

struct AdapterTerm {
  std::string name;  // as clients know it: for metrics and logs
  float weight = 1;
  std::shared_ptr<const AdapterHandle> handle;  // null: its weights are not at hand yet
};

}  // namespace lorry
