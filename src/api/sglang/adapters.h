// SGLang's run-time adapter calls, /load_lora_adapter and /unload_lora_adapter: every answer, good
// or bad, is one object that lists what is loaded; a failure is a 400.
// Owns: nothing. Thread: any. Pure.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "api/adapter_fields.h"

namespace lorry::api::sglang {

// {"lora_name", "lora_path", "pinned"}
Result<AdapterRegistration> ParseLoad(std::string_view body);
// {"lora_name"}: the name.
Result<std::string> ParseUnload(std::string_view body);

// {"success":…,"error_message":…,"loaded_adapters":{name: path}}; no message: a success.
std::string FormatResult(std::string_view error_message, std::vector<AdapterStatus> adapters);

// The message of what the service refused.
std::string LoadErrorText(const Error& error, std::string_view name);
std::string UnloadErrorText(const Error& error, std::string_view name);

}  // namespace lorry::api::sglang
