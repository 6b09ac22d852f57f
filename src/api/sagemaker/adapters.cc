#include "api/sagemaker/adapters.h"

#include <algorithm>
#include <limits>

#include "api/error_map.h"
#include "api/openai/json_text.h"

namespace lorry::api::sagemaker {
namespace {

namespace json = boost::json;

using openai::AppendJsonString;
using openai::FieldReader;

constexpr int kMaxLimit = 100;

Status CheckRegistration(const AdapterRegistration& adapter) {
  for (const auto& [field, value] :
       {std::pair("name", &adapter.name), std::pair("src", &adapter.source)}) {
    if (value->empty()) {
      return Fail(ErrorCode::kInvalidArgument, fmt::format("'{}' is missing.", field), field);
    }
  }
  return CheckNewAdapter(adapter, {"name", "src"});
}

void AppendAdapter(std::string& out, const AdapterStatus& adapter) {
  out += R"({"name":)";
  AppendJsonString(out, adapter.name);
  out += R"(,"src":)";
  AppendJsonString(out, adapter.source);
  // What was registered without its weights being read has no revision yet.
  out += fmt::format(R"(,"preload":{},"pin":{}}})", !adapter.id.IsBase(), adapter.is_pinned);
}

std::string_view TypeOf(int status) {
  if (status == 404) return "ResourceNotFoundException";
  if (status == 409) return "IllegalArgumentException";
  if (status == 429 || status == 503) return "ServiceUnavailableException";
  return status >= 500 ? "InternalServerException" : "BadRequestException";
}

}  // namespace

Result<AdapterRegistration> ParseRegistration(std::string_view body) {
  ASSIGN_OR_RETURN(const json::object object, openai::ParseBody(body, kManagementLimits));
  FieldReader fields(object);
  AdapterRegistration adapter;
  fields.String("name", adapter.name);
  fields.String("src", adapter.source);
  fields.Bool("preload", adapter.load);
  fields.Bool("pin", adapter.is_pinned);
  fields.Bool("load_inplace", adapter.replace);
  RETURN_IF_ERROR(fields.status());
  RETURN_IF_ERROR(CheckRegistration(adapter));
  return adapter;
}

Result<AdapterRegistration> ParseRegistrationQuery(const QueryLookup& query) {
  AdapterRegistration adapter;
  adapter.name = query("name").value_or("");
  adapter.source = query("src").value_or("");
  ASSIGN_OR_RETURN(const std::optional<bool> preload, QueryBool(query, "preload"));
  ASSIGN_OR_RETURN(const std::optional<bool> pin, QueryBool(query, "pin"));
  adapter.load = preload.value_or(true);
  adapter.is_pinned = pin.value_or(false);
  RETURN_IF_ERROR(CheckRegistration(adapter));
  return adapter;
}

Result<AdapterUpdate> ParseUpdateQuery(const QueryLookup& query) {
  if (query("src")) {
    return Fail(ErrorCode::kInvalidArgument,
                "'src' cannot be changed: unregister the adapter and register it anew.", "src");
  }
  AdapterUpdate update;
  RETURN_IF_ERROR(QueryBool(query, "preload"));  // it is on its way from its first use anyway
  ASSIGN_OR_RETURN(update.is_pinned, QueryBool(query, "pin"));
  return update;
}

Result<ListQuery> ParseListQuery(const QueryLookup& query) {
  constexpr int kMaxInt = std::numeric_limits<int>::max();
  ListQuery list;
  ASSIGN_OR_RETURN(const int limit, QueryInt(query, "limit", {1, kMaxInt}, list.limit));
  list.limit = std::min(limit, kMaxLimit);
  ASSIGN_OR_RETURN(list.begin, QueryInt(query, "next_page_token", {0, kMaxInt}, list.begin));
  return list;
}

std::string ChangeText(Change change, std::string_view shown_name) {
  const std::string_view done = change == Change::kRegistered ? "registered"
                                : change == Change::kUpdated  ? "updated"
                                                              : "unregistered";
  return fmt::format("Adapter {} {}", shown_name, done);
}

std::string FormatStatus(std::string_view text) {
  std::string out = R"({"status":)";
  AppendJsonString(out, text);
  out += '}';
  return out;
}

std::string FormatDescription(const AdapterStatus& adapter) {
  std::string out = "[";
  AppendAdapter(out, adapter);
  out += ']';
  return out;
}

std::string FormatList(std::vector<AdapterStatus> adapters, const ListQuery& query) {
  SortByName(adapters);
  const size_t begin = std::min(static_cast<size_t>(query.begin), adapters.size());
  const size_t end = std::min(begin + static_cast<size_t>(query.limit), adapters.size());
  std::string out = R"({"adapters":[)";
  for (size_t i = begin; i < end; ++i) {
    if (i > begin) out += ',';
    AppendAdapter(out, adapters[i]);
  }
  out += ']';
  if (end < adapters.size()) out += fmt::format(R"(,"nextPageToken":"{}")", end);
  out += '}';
  return out;
}

std::string FormatError(const Error& error) {
  const int status = HttpErrorOf(error).status;
  std::string out = fmt::format(R"({{"code":{},"type":)", status);
  AppendJsonString(out, TypeOf(status));
  out += R"(,"message":)";
  AppendJsonString(out, error.message);
  out += '}';
  return out;
}

}  // namespace lorry::api::sagemaker
