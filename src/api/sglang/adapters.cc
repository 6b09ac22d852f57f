#include "api/sglang/adapters.h"

#include "api/openai/json_text.h"

namespace lorry::api::sglang {
namespace {

namespace json = boost::json;

using openai::FieldReader;

Status CheckGiven(std::string_view value, std::string_view field) {
  if (!value.empty()) return {};
  return Fail(ErrorCode::kInvalidArgument, fmt::format("'{}' is missing.", field),
              std::string(field));
}

}  // namespace

Result<AdapterRegistration> ParseLoad(std::string_view body) {
  ASSIGN_OR_RETURN(const json::object object, openai::ParseBody(body, kManagementLimits));
  FieldReader fields(object);
  AdapterRegistration adapter;
  fields.String("lora_name", adapter.name);
  fields.String("lora_path", adapter.source);
  fields.Bool("pinned", adapter.is_pinned);
  RETURN_IF_ERROR(fields.status());
  RETURN_IF_ERROR(CheckGiven(adapter.name, "lora_name"));
  RETURN_IF_ERROR(CheckGiven(adapter.source, "lora_path"));
  RETURN_IF_ERROR(CheckNewAdapter(adapter, {"lora_name", "lora_path"}));
  return adapter;
}

Result<std::string> ParseUnload(std::string_view body) {
  ASSIGN_OR_RETURN(const json::object object, openai::ParseBody(body, kManagementLimits));
  FieldReader fields(object);
  std::string name;
  fields.String("lora_name", name);
  RETURN_IF_ERROR(fields.status());
  RETURN_IF_ERROR(CheckGiven(name, "lora_name"));
  return name;
}

std::string FormatResult(std::string_view error_message, std::vector<AdapterStatus> adapters) {
  std::erase_if(adapters, [](const AdapterStatus& adapter) { return !adapter.is_registered; });
  SortByName(adapters);
  std::string out = fmt::format(R"({{"success":{},"error_message":)", error_message.empty());
  openai::AppendJsonString(out, error_message);
  out += R"(,"loaded_adapters":{)";
  for (size_t i = 0; i < adapters.size(); ++i) {
    if (i > 0) out += ',';
    openai::AppendJsonString(out, adapters[i].name);
    out += ':';
    openai::AppendJsonString(out, adapters[i].source);
  }
  out += "}}";
  return out;
}

std::string LoadErrorText(const Error& error, std::string_view name) {
  if (error.code == ErrorCode::kConflict) {
    return fmt::format("Failed to load LoRA adapter {} because it is already loaded", name);
  }
  return error.message;
}

std::string UnloadErrorText(const Error& error, std::string_view name) {
  if (error.code == ErrorCode::kNotFound) {
    return fmt::format("LoRA with name {} does not exist.", name);
  }
  return error.message;
}

}  // namespace lorry::api::sglang
