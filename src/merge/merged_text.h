// The text that what is merged speaks with. A model merged of one adapter with a tokenizer, chat
// template or end tokens of its own gets what a server uses for that adapter's requests; several
// get the base's, as sums do when they are served.
// Owns: nothing. Thread: any; reads files.
#pragma once

#include <map>
#include <set>
#include <string>

#include "base/result.h"
#include "merge/plan.h"

namespace lorry::merge {

struct MergedText {
  std::map<std::string, std::string> files;  // by name: written in place of the base's
  std::set<std::string> left_out;            // of the base's: they would contradict these
  std::string shown;  // whose it is, for people; empty: the base's, and no adapter has another
};

// kUnfit: an adapter's text cannot be read, as no server could.
Result<MergedText> TextOfMerged(const MergeOptions& options);

}  // namespace lorry::merge
