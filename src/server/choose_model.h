// Owns: nothing. Thread: any.
#pragma once

#include <string>
#include <string_view>

#include "api/openai/request.h"
#include "base/result.h"
#include "net/http_message.h"
#include "request/adapter_service.h"

namespace lorry::server {

// SageMaker's way to say which adapter is to answer: the name of a registered one.
constexpr std::string_view kAdapterHeader = "x-amzn-sagemaker-adapter-identifier";

// Its value; "": there is none. Of fields that are there twice the values joined, which is no name.
std::string AdapterHeader(const net::HttpHeaders& headers);

// As if it were a field of the body. kInvalidArgument: the body chooses another adapter.
Status TakeAdapterHeader(const std::string& value, api::openai::ModelRequest& request);

// What a request's `model`, `adapters` and `adapter_id` stand for, none of its weights at hand yet.
Result<ModelChoice> ChooseModel(const api::openai::ModelRequest& request,
                                const AdapterService& adapters);

}  // namespace lorry::server
