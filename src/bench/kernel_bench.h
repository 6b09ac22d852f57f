// Each kernel of a model's shape on its own, beside its limit.
#pragma once

#include <boost/json/object.hpp>
#include <cstdint>
#include <string>
#include <vector>

#include "base/result.h"

namespace lorry::bench {

struct KernelBenchOptions {
  std::string shape = "135m";
  std::vector<int> rows = {1, 8, 64, 512};
  int context_tokens = 256;  // of the attention rows
  int rank = 16;
  int rounds = 9;
  int num_threads = 1;
  bool bf16 = true;
};

Result<boost::json::object> RunKernelBench(const KernelBenchOptions& options);

}  // namespace lorry::bench
