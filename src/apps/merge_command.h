// `lorry merge`: adapters written into a model, or several into one adapter, on disk.
#pragma once

#include <string>
#include <vector>

#include "base/result.h"
#include "merge/plan.h"

namespace lorry::apps {

// args: after "merge". The exit code.
int RunMergeCommand(const std::vector<std::string>& args);

// SOURCE or SOURCE@weight; after a URI only a number is a weight, else it is a revision. A
// directory whose own name ends on "@2" is taken at its name, with weight 1.
Result<merge::WeightedAdapter> ParseWeightedAdapter(const std::string& text);

}  // namespace lorry::apps
