// A source that is already on this machine: nothing is copied, only looked at.
// Owns: nothing. Thread: any.
#pragma once

#include "adapters/sources/source.h"

namespace lorry::adapters {

// The revision is a digest of the names, sizes and modification times of the adapter's files.
Result<Fetched> FetchDirectory(const FetchRequest& request, const SourceOptions& options);

}  // namespace lorry::adapters
