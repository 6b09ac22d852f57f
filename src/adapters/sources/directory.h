// A source that is already on this machine: nothing is copied, only looked at.
// Owns: nothing. Thread: any.
#pragma once

#include "adapters/sources/source.h"

namespace lorry::adapters {

// The revision is a digest of the names, sizes and modification times of the adapter's files, which
// are asked for by name: what else lies there, and how much, does not matter. A file that was
// written within the last tick of the file system's clock is waited for, so that the next write
// makes another revision.
Result<Fetched> FetchDirectory(const FetchRequest& request, const SourceOptions& options);

}  // namespace lorry::adapters
