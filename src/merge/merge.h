// `lorry merge`: writes what a plan says, a whole model directory or one adapter.
// Owns: nothing between calls. Thread: one. Never: holds more than a block of rows of the base, one
// module of the adapters; or leaves something half-made behind.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "base/result.h"
#include "formats/safetensors_writer.h"
#include "merge/merged_text.h"
#include "merge/plan.h"

namespace lorry::merge {

// What will be written, for --dry-run and for the space that it takes.
struct MergeOutput {
  std::vector<formats::TensorSpec> tensors;
  uint64_t weight_bytes = 0;
  size_t num_files = 1;                   // of weights
  std::vector<std::string> copied_files;  // of the base directory, as they are
  MergedText text;
};

Result<MergeOutput> DescribeOutput(const MergePlan& plan);

// Called now and then with bytes of weights; false stops the merge.
using OnProgress = std::function<bool(uint64_t done_bytes, uint64_t total_bytes)>;

// Into options().output_dir, whole or not at all.
Status Merge(const MergePlan& plan, const OnProgress& on_progress);

}  // namespace lorry::merge
