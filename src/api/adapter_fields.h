// What the dialects of adapter management have in common: limits of their bodies, the checks of
// names and sources, and how a query string is looked at.
// Owns: nothing. Thread: any. Pure.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "api/openai/field_reader.h"
#include "base/result.h"
#include "request/adapter_service.h"

namespace lorry::api {

// A management body is a handful of short fields.
inline constexpr openai::JsonLimits kManagementLimits = {.max_bytes = 64 << 10, .max_depth = 8};

// The value of a parameter of the query string, decoded; nullopt: absent or broken.
using QueryLookup = std::function<std::optional<std::string>(std::string_view name)>;

// What a dialect calls an adapter's name and source.
struct AdapterFieldNames {
  std::string_view name;
  std::string_view source;
};

// A name by the rule of names, a source of printable text; both of a sane length. The error's param
// is the field.
Status CheckNewAdapter(const AdapterRegistration& adapter, const AdapterFieldNames& fields);

// A whole number of the query string within [min, max]; `fallback` where it is absent.
Result<int> QueryInt(const QueryLookup& query, std::string_view name, openai::IntRange range,
                     int fallback);
// "true" or "false" in any case; nullopt where it is absent.
Result<std::optional<bool>> QueryBool(const QueryLookup& query, std::string_view name);

// In the order in which lists are shown.
void SortByName(std::vector<AdapterStatus>& adapters);

}  // namespace lorry::api
