// vLLM's run-time adapter calls, /v1/load_lora_adapter and /v1/unload_lora_adapter: its fields, its
// texts and its status codes, so that tools written for it need no change.
// Owns: nothing. Thread: any. Pure.
#pragma once

#include <string>
#include <string_view>

#include "api/adapter_fields.h"

namespace lorry::api::vllm {

// {"lora_name", "lora_path", "load_inplace"}
Result<AdapterRegistration> ParseLoad(std::string_view body);
// {"lora_name"}: the name.
Result<std::string> ParseUnload(std::string_view body);

// Plain text.
std::string LoadedText(std::string_view name);
std::string UnloadedText(std::string_view name);

struct ErrorAnswer {
  int status;
  std::string body;  // {"error":{"message","type","param","code"}}
};
// A body that is not what it must be.
ErrorAnswer FormatBadRequest(const Error& error);
// What the service refused. vLLM has no codes for a source that is refused, fails or is slow, nor
// for a server without room: these are as everywhere in Lorry.
ErrorAnswer FormatLoadError(const Error& error, const AdapterRegistration& adapter);
ErrorAnswer FormatUnloadError(const Error& error, std::string_view name);

}  // namespace lorry::api::vllm
