// Owns: nothing. Thread: any.
#pragma once

#include <functional>
#include <memory>
#include <vector>

#include "base/result.h"
#include "request/adapter_service.h"
#include "request/adapter_term.h"

namespace lorry {

// Wants all adapters of a request at once (adapter_service.h). `done` is called once, on any thread
// (the caller's too): with every handle set, or with the first error.
void WantAdapters(AdapterService& adapters, std::vector<AdapterTerm> terms,
                  const std::shared_ptr<WaitingRequest>& request,
                  std::function<void(Result<std::vector<AdapterTerm>>)> done);

}  // namespace lorry
