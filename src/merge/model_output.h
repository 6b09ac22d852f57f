// The merged model: every tensor of the base, those of adapted modules changed, and the small files
// beside them.
// Owns: nothing between calls. Thread: one. Never: more than a block of rows in memory.
//
// W' = round(W + scale * B * A), in f32 and rounded once to the type that is stored;
// tensor_change.h has what else an adapter may do. Blocks are whole rows: DoRA needs a row's norm.
#pragma once

#include <string>
#include <vector>

#include "base/result.h"
#include "merge/merge.h"
#include "merge/plan.h"

namespace lorry::merge {

// In the order in which WriteModelWeights writes them.
Result<std::vector<formats::TensorSpec>> ModelTensors(const MergePlan& plan);
Status WriteModelWeights(const MergePlan& plan, const MergeOutput& output, const std::string& dir,
                         const OnProgress& on_progress);

// Tokenizer, generation defaults, chat template, licence: names of files of the base directory that
// go along as they are. config.json is not among them.
Result<std::vector<std::string>> FilesBesideWeights(const std::string& base_dir);
// Those, and config.json with the new type where one is asked for.
Status WriteModelFiles(const MergePlan& plan, const MergeOutput& output, const std::string& dir);

}  // namespace lorry::merge
