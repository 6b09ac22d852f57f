// Owns: nothing. Thread: any.
#pragma once

#include <functional>
#include <vector>

#include "base/result.h"
#include "request/adapter_service.h"
#include "request/adapter_term.h"

namespace lorry {

// Wants all adapters of a request at once. `done` is called once, on any thread (the caller's too):
// with every handle set, or with the first error.
void WantAdapters(AdapterService& adapters, std::vector<AdapterTerm> terms,
                  std::function<void(Result<std::vector<AdapterTerm>>)> done);

}  // namespace lorry
