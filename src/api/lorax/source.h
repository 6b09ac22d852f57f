// LoRAX's way to name an adapter's source: `adapter_id` and `adapter_source`.
// Owns: nothing. Thread: any.
#pragma once

#include <string>
#include <string_view>

#include "base/result.h"

namespace lorry::api::lorax {

// The source as Lorry writes it: "hf://org/name", "s3://bucket/prefix", "/dir". An id that has a
// scheme already keeps it; without a source it is the Hub's. kInvalidArgument: the two do not fit.
Result<std::string> SourceOf(std::string_view adapter_id, std::string_view adapter_source);

}  // namespace lorry::api::lorax
