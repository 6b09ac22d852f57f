#include "api/adapter_fields.h"

#include <algorithm>
#include <charconv>

#include "base/ascii.h"

namespace lorry::api {
namespace {

constexpr size_t kMaxTextBytes = 4096;  // of a source or a token

Status CheckText(std::string_view text, std::string_view field) {
  if (text.size() > kMaxTextBytes) {
    return Fail(
        ErrorCode::kInvalidArgument,
        fmt::format("'{}' has {} bytes; the limit is {}.", field, text.size(), kMaxTextBytes),
        std::string(field));
  }
  // Nothing of it may forge a line of a log or a header of a request.
  const bool is_printable = std::ranges::all_of(
      text, [](char c) { return static_cast<unsigned char>(c) >= ' ' && c != '\x7F'; });
  if (!is_printable) {
    return Fail(ErrorCode::kInvalidArgument,
                fmt::format("'{}' must not contain control characters.", field),
                std::string(field));
  }
  return {};
}

}  // namespace

Status CheckNewAdapter(const AdapterRegistration& adapter, const AdapterFieldNames& fields) {
  if (Status status = CheckAdapterName(adapter.name); !status) {
    status.error().param = fields.name;
    return status;
  }
  RETURN_IF_ERROR(CheckText(adapter.source, fields.source));
  return CheckText(adapter.token, "token");
}

Result<int> QueryInt(const QueryLookup& query, std::string_view name, openai::IntRange range,
                     int fallback) {
  const std::optional<std::string> text = query(name);
  if (!text) return fallback;
  int64_t value = 0;
  const char* end = text->data() + text->size();
  const auto [stop, error] = std::from_chars(text->data(), end, value);
  if (error != std::errc() || stop != end || value < range.min || value > range.max) {
    return Fail(ErrorCode::kInvalidArgument,
                fmt::format("'{}' must be an integer from {} to {}.", name, range.min, range.max),
                std::string(name));
  }
  return static_cast<int>(value);
}

Result<std::optional<bool>> QueryBool(const QueryLookup& query, std::string_view name) {
  const std::optional<std::string> text = query(name);
  if (!text) return std::optional<bool>();
  if (EqualIgnoringCase(*text, "true")) return std::optional(true);
  if (EqualIgnoringCase(*text, "false")) return std::optional(false);
  return Fail(ErrorCode::kInvalidArgument, fmt::format("'{}' must be true or false.", name),
              std::string(name));
}

void SortByName(std::vector<AdapterStatus>& adapters) {
  std::ranges::sort(adapters, {}, &AdapterStatus::name);
}

}  // namespace lorry::api
