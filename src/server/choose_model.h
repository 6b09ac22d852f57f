// Owns: nothing. Thread: any.
#pragma once

#include "api/openai/request.h"
#include "base/result.h"
#include "request/adapter_service.h"

namespace lorry::server {

// What a request's `model`, `adapters` and `adapter_id` stand for, none of its weights at hand yet.
Result<ModelChoice> ChooseModel(const api::openai::ModelRequest& request,
                                const AdapterService& adapters);

}  // namespace lorry::server
