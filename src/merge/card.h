// README.md of what was merged: from which parts, with which weights and by which method, so that
// anyone can make it again. Owns: nothing. Thread: any. Pure.
#pragma once

#include <string>

#include "merge/plan.h"

namespace lorry::merge {

std::string CardText(const MergePlan& plan);

}  // namespace lorry::merge
