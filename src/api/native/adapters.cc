#include "api/native/adapters.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <initializer_list>

#include "api/openai/json_text.h"

namespace lorry::api::native {
namespace {

namespace json = boost::json;

using openai::AppendJsonInt;
using openai::AppendJsonString;
using openai::AppendJsonStringOrNull;
using openai::FieldReader;

constexpr int kMaxLimit = 1000;

// A misspelt "pin" that is passed over would leave an adapter unpinned and nobody the wiser.
Status CheckFields(const json::object& object, std::initializer_list<std::string_view> known) {
  for (const auto& [name, value] : object) {
    const std::string_view text(name.data(), name.size());
    if (std::ranges::find(known, text) == known.end()) {
      const std::string shown = openai::Describe(json::value(name));
      return Fail(
          ErrorCode::kInvalidArgument,
          fmt::format("There is no field {}; there are: {}.", shown, fmt::join(known, ", ")),
          std::string(text.substr(0, 64)));
    }
  }
  return {};
}

void AppendTime(std::string& out, int64_t unix_s) {
  if (unix_s == 0) {
    out += "null";
  } else {
    AppendJsonInt(out, unix_s);
  }
}

void AppendError(std::string& out, const AdapterStatus& status) {
  if (!status.error) {
    out += "null";
    return;
  }
  out += R"({"code":)";
  AppendJsonString(out, ErrorCodeName(status.error->code));
  out += R"(,"message":)";
  AppendJsonString(out, status.error->message);
  out += R"(,"failed_until":)";
  AppendTime(out, status.failed_until_s);
  out += '}';
}

void AppendAdapter(std::string& out, const AdapterStatus& status) {
  const auto text = [&](std::string_view field, std::string_view value) {
    out += fmt::format(R"(,"{}":)", field);
    AppendJsonStringOrNull(out, value);
  };
  out += R"({"name":)";
  AppendJsonString(out, status.name);
  out += R"(,"object":"adapter")";
  text("source", status.source);
  text("revision", status.revision);
  text("id", status.id.IsBase() ? std::string() : status.id.Hex());
  text("tier", AdapterTierName(status.tier));
  out += fmt::format(R"(,"loading":{},"pinned":{},"static":{},"rank":{},"modules":{},"bytes":{})",
                     status.is_loading, status.is_pinned, status.is_static, status.max_rank,
                     status.num_modules, status.num_bytes);
  out += fmt::format(R"(,"requests":{},"waiting":{},"created":)", status.num_requests,
                     status.num_waiting);
  AppendTime(out, status.created_s);
  out += R"(,"last_used":)";
  AppendTime(out, status.last_used_s);
  out += R"(,"error":)";
  AppendError(out, status);
  if (!status.warnings.empty()) {
    out += R"(,"warnings":[)";
    for (size_t i = 0; i < status.warnings.size(); ++i) {
      if (i > 0) out += ',';
      AppendJsonString(out, status.warnings[i]);
    }
    out += ']';
  }
  out += '}';
}

}  // namespace

Result<AdapterRegistration> ParseRegistration(std::string_view body) {
  ASSIGN_OR_RETURN(const json::object object, openai::ParseBody(body, kManagementLimits));
  RETURN_IF_ERROR(CheckFields(object, {"name", "source", "token", "pin", "load", "replace"}));
  FieldReader fields(object);
  AdapterRegistration adapter;
  for (const std::string_view required : {"name", "source"}) {
    if (fields.Find(required) == nullptr) {
      fields.Fail(ErrorCode::kInvalidArgument, required, fmt::format("'{}' is missing.", required));
    }
  }
  fields.String("name", adapter.name);
  fields.String("source", adapter.source);
  fields.String("token", adapter.token);
  fields.Bool("pin", adapter.is_pinned);
  fields.Bool("load", adapter.load);
  fields.Bool("replace", adapter.replace);
  RETURN_IF_ERROR(fields.status());
  if (adapter.source.empty()) {
    return Fail(ErrorCode::kInvalidArgument, "'source' is empty.", "source");
  }
  RETURN_IF_ERROR(CheckNewAdapter(adapter, {"name", "source"}));
  return adapter;
}

Result<AdapterUpdate> ParseUpdate(std::string_view body) {
  ASSIGN_OR_RETURN(const json::object object, openai::ParseBody(body, kManagementLimits));
  RETURN_IF_ERROR(CheckFields(object, {"pin", "alias_of", "reload"}));
  FieldReader fields(object);
  AdapterUpdate update;
  if (fields.Find("pin") != nullptr) fields.Bool("pin", update.is_pinned.emplace());
  if (fields.Find("alias_of") != nullptr) fields.String("alias_of", update.alias_of.emplace());
  fields.Bool("reload", update.reload);
  RETURN_IF_ERROR(fields.status());
  if (!update.is_pinned && !update.alias_of && !update.reload) {
    return Fail(ErrorCode::kInvalidArgument,
                "Nothing is to change: give 'pin', 'alias_of' or 'reload'.");
  }
  if (update.alias_of && update.reload) {
    return Fail(ErrorCode::kInvalidArgument,
                "'reload' reads the name's own source, 'alias_of' leaves it: give one of them.",
                "reload");
  }
  if (update.alias_of) {
    if (Status status = CheckAdapterName(*update.alias_of); !status) {
      status.error().param = "alias_of";
      return tl::unexpected<Error>(std::move(status.error()));
    }
  }
  return update;
}

Result<ListQuery> ParseListQuery(const QueryLookup& query) {
  ListQuery list;
  list.prefix = query("name").value_or("");
  list.after = query("after").value_or("");
  ASSIGN_OR_RETURN(list.limit, QueryInt(query, "limit", {1, kMaxLimit}, list.limit));
  return list;
}

std::string FormatAdapter(const AdapterStatus& status) {
  std::string out;
  AppendAdapter(out, status);
  return out;
}

std::string FormatAdapters(std::vector<AdapterStatus> adapters, const ListQuery& query) {
  std::erase_if(adapters, [&](const AdapterStatus& adapter) {
    return !adapter.name.starts_with(query.prefix);
  });
  SortByName(adapters);
  const size_t total = adapters.size();
  const auto begin = std::ranges::upper_bound(adapters, query.after, {}, &AdapterStatus::name);
  const auto left = adapters.end() - begin;
  const auto end = begin + std::min<std::ptrdiff_t>(left, query.limit);
  std::string out = R"({"object":"list","data":[)";
  for (auto adapter = begin; adapter != end; ++adapter) {
    if (adapter != begin) out += ',';
    AppendAdapter(out, *adapter);
  }
  out += fmt::format(R"(],"total":{},"next":)", total);
  AppendJsonStringOrNull(out, end == adapters.end() ? std::string_view() : (end - 1)->name);
  out += '}';
  return out;
}

std::string FormatRemoved(std::string_view name) {
  std::string out = R"({"name":)";
  AppendJsonString(out, name);
  out += R"(,"object":"adapter","deleted":true})";
  return out;
}

}  // namespace lorry::api::native
