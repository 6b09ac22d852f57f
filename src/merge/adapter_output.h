// The combination as a PEFT adapter directory of its own.
// Owns: nothing between calls. Thread: one. Never: more than one module's factors in memory.
//
// Weights and scalings lie in the matrices, so the new adapter's scaling is 1: its alpha is its
// rank, module by module. Modules are named one by one, since which ones an adapter has may differ
// from layer to layer.
#pragma once

#include <string>
#include <vector>

#include "base/result.h"
#include "merge/merge.h"
#include "merge/plan.h"

namespace lorry::merge {

// Refuses a rank beyond what Lorry serves.
Result<std::vector<formats::TensorSpec>> AdapterTensors(const MergePlan& plan);
Status WriteAdapter(const MergePlan& plan, const MergeOutput& output, const std::string& dir,
                    const OnProgress& on_progress);

}  // namespace lorry::merge
