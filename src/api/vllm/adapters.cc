#include "api/vllm/adapters.h"

#include "api/error_map.h"
#include "api/openai/json_text.h"

namespace lorry::api::vllm {
namespace {

namespace json = boost::json;

using openai::FieldReader;

ErrorAnswer Answer(int status, std::string_view type, std::string_view message) {
  std::string body = R"({"error":{"message":)";
  openai::AppendJsonString(body, message);
  body += R"(,"type":)";
  openai::AppendJsonString(body, type);
  body += fmt::format(R"(,"param":null,"code":{}}}}})", status);
  return {status, std::move(body)};
}

std::string_view TypeOf(int status) {
  switch (status) {
    case 401:
    case 403:
      return "PermissionDeniedError";
    case 413:
      return "RequestEntityTooLarge";
    case 424:
      return "FailedDependencyError";
    case 429:
      return "RateLimitError";
    case 503:
      return "ServiceUnavailableError";
    case 504:
      return "GatewayTimeoutError";
    default:
      return "InternalServerError";
  }
}

// What vLLM cannot load is its 500.
ErrorAnswer FormatOther(const Error& error) {
  switch (error.code) {
    case ErrorCode::kTooLarge:
    case ErrorCode::kUnfit:
    case ErrorCode::kUnsupported:
      return Answer(500, "InternalServerError", error.message);
    case ErrorCode::kInvalidArgument:
      return Answer(400, "InvalidUserInput", error.message);
    default: {
      const int status = HttpErrorOf(error).status;
      return Answer(status, TypeOf(status), error.message);
    }
  }
}

}  // namespace

Result<AdapterRegistration> ParseLoad(std::string_view body) {
  ASSIGN_OR_RETURN(const json::object object, openai::ParseBody(body, kManagementLimits));
  FieldReader fields(object);
  AdapterRegistration adapter;
  bool is_3d = false;
  fields.String("lora_name", adapter.name);
  fields.String("lora_path", adapter.source);
  fields.Bool("load_inplace", adapter.replace);
  fields.Bool("is_3d_lora_weight", is_3d);
  RETURN_IF_ERROR(fields.status());
  if (adapter.name.empty() || adapter.source.empty()) {
    return Fail(ErrorCode::kInvalidArgument, "Both 'lora_name' and 'lora_path' must be provided.");
  }
  if (is_3d) {
    return Fail(ErrorCode::kInvalidArgument,
                "'is_3d_lora_weight' is not supported: no model here has experts.",
                "is_3d_lora_weight");
  }
  RETURN_IF_ERROR(CheckNewAdapter(adapter, {"lora_name", "lora_path"}));
  return adapter;
}

Result<std::string> ParseUnload(std::string_view body) {
  ASSIGN_OR_RETURN(const json::object object, openai::ParseBody(body, kManagementLimits));
  FieldReader fields(object);
  std::string name;
  fields.String("lora_name", name);
  RETURN_IF_ERROR(fields.status());
  if (name.empty()) {
    return Fail(ErrorCode::kInvalidArgument,
                "'lora_name' needs to be provided to unload a LoRA adapter.");
  }
  return name;
}

std::string LoadedText(std::string_view name) {
  return fmt::format("Success: LoRA adapter '{}' added successfully.", name);
}

std::string UnloadedText(std::string_view name) {
  return fmt::format("Success: LoRA adapter '{}' removed successfully.", name);
}

ErrorAnswer FormatBadRequest(const Error& error) {
  const int status = HttpErrorOf(error).status;
  return Answer(status, status == 400 ? "InvalidUserInput" : TypeOf(status), error.message);
}

ErrorAnswer FormatLoadError(const Error& error, const AdapterRegistration& adapter) {
  if (error.code == ErrorCode::kConflict) {
    return Answer(400, "InvalidUserInput",
                  fmt::format("The lora adapter '{}' has already been loaded. If you want to load "
                              "the adapter in place, set 'load_inplace' to True.",
                              adapter.name));
  }
  if (error.code == ErrorCode::kNotFound) {
    return Answer(404, "NotFoundError",
                  fmt::format("Loading lora {} failed: No adapter found for {}", adapter.name,
                              adapter.source));
  }
  return FormatOther(error);
}

ErrorAnswer FormatUnloadError(const Error& error, std::string_view name) {
  if (error.code == ErrorCode::kNotFound) {
    return Answer(404, "NotFoundError",
                  fmt::format("The lora adapter '{}' cannot be found.", name));
  }
  return FormatOther(error);
}

}  // namespace lorry::api::vllm
