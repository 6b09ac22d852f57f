// Whole forward steps in this process, each beside its limit: the larger of (bytes that must be
// read / read rate) and (operations / arithmetic rate), both rates measured in the same round as
// the step.
#pragma once

#include <boost/json/object.hpp>
#include <string>
#include <vector>

#include "base/result.h"

namespace lorry::bench {

struct StepBenchOptions {
  std::string model_dir;
  std::vector<std::string> adapter_dirs;  // used in turn by the sequences of the "distinct" rows
  std::vector<int> batches = {1, 8};      // sequences of the decode steps
  int context_tokens = 64;                // in the KV cache before a decode step
  int prompt_tokens = 512;                // rows of the prompt step; 0: none
  int rounds = 15;                        // medians are over these
  int num_threads = 1;
  bool with_paged = false;  // also with adapters laid out in pages of the pool
  std::string dtype = "auto";
  size_t probe_bytes = size_t{1} << 30;  // of the read-rate buffer
};

// Prints a table and progress to stdout / stderr; returns the same as JSON.
Result<boost::json::object> RunStepBench(const StepBenchOptions& options);

}  // namespace lorry::bench
