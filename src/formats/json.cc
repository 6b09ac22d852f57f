#include "formats/json.h"

#include <algorithm>
#include <boost/json/array.hpp>
#include <boost/json/basic_parser_impl.hpp>
#include <boost/json/parse.hpp>
#include <exception>
#include <unordered_set>

#include "formats/file_bytes.h"
#include "formats/file_kind.h"

namespace lorry::formats {
namespace {

namespace json = boost::json;

// Watches a parse and stops it at the second of two equal keys of one object.
struct DuplicateKeyHandler {
  static constexpr size_t max_object_size = static_cast<size_t>(-1);
  static constexpr size_t max_array_size = static_cast<size_t>(-1);
  static constexpr size_t max_key_size = static_cast<size_t>(-1);
  static constexpr size_t max_string_size = static_cast<size_t>(-1);

  bool on_document_begin(json::error_code&) { return true; }
  bool on_document_end(json::error_code&) { return true; }
  bool on_array_begin(json::error_code&) { return true; }
  bool on_array_end(size_t, json::error_code&) { return true; }
  bool on_object_begin(json::error_code&) {
    open_objects.emplace_back();
    return true;
  }
  bool on_object_end(size_t, json::error_code&) {
    open_objects.pop_back();
    return true;
  }
  bool on_string_part(json::string_view, size_t, json::error_code&) { return true; }
  bool on_string(json::string_view, size_t, json::error_code&) { return true; }
  bool on_key_part(json::string_view part, size_t, json::error_code&) {
    key.append(part.data(), part.size());
    return true;
  }
  bool on_key(json::string_view part, size_t, json::error_code& error) {
    key.append(part.data(), part.size());
    if (!open_objects.back().insert(key).second) {
      duplicate = key;
      error = json::error::exception;  // any error ends the parse; `duplicate` says which it was
      return false;
    }
    key.clear();
    return true;
  }
  bool on_number_part(json::string_view, json::error_code&) { return true; }
  bool on_int64(int64_t, json::string_view, json::error_code&) { return true; }
  bool on_uint64(uint64_t, json::string_view, json::error_code&) { return true; }
  bool on_double(double, json::string_view, json::error_code&) { return true; }
  bool on_bool(bool, json::error_code&) { return true; }
  bool on_null(json::error_code&) { return true; }
  bool on_comment_part(json::string_view, json::error_code&) { return true; }
  bool on_comment(json::string_view, json::error_code&) { return true; }

  std::vector<std::unordered_set<std::string>> open_objects;
  std::string key;
  std::optional<std::string> duplicate;
};

Status CheckNoDuplicateKeys(std::string_view text, std::string_view where,
                            const json::parse_options& options) {
  json::basic_parser<DuplicateKeyHandler> parser(options);
  json::error_code ignored;  // whatever else is wrong, the parse proper reports
  parser.write_some(false, text.data(), text.size(), ignored);
  const std::optional<std::string>& duplicate = parser.handler().duplicate;
  if (!duplicate) return {};
  return Fail(ErrorCode::kDataLoss,
              fmt::format("{}: the key {} stands twice in one object", where, Quoted(*duplicate)));
}

Result<json::object> ParseChecked(std::string_view text, std::string_view where,
                                  const JsonLimits& limits) {
  json::parse_options options;
  options.max_depth = limits.max_depth;
  if (limits.refuse_duplicate_keys) {
    RETURN_IF_ERROR(CheckNoDuplicateKeys(text, where, options));
  }
  json::error_code error;
  json::value value =
      json::parse(json::string_view(text.data(), text.size()), error, json::storage_ptr(), options);
  if (error == json::error::too_deep) {
    return Fail(ErrorCode::kTooLarge,
                fmt::format("{}: nested deeper than {} levels", where, limits.max_depth));
  }
  if (error) {
    const std::string kind = KindOf(text);
    // Something else in the file's place, as a download brings it, is no mistake of who wrote it.
    const bool is_other = !text.empty() && !kind.empty();
    return Fail(is_other ? ErrorCode::kDataLoss : ErrorCode::kInvalidArgument,
                fmt::format("{}: not valid JSON: {}", where,
                            kind.empty() ? error.message() : "it " + kind));
  }
  if (!value.is_object()) {
    return Fail(ErrorCode::kInvalidArgument,
                fmt::format("{}: must be a JSON object, is {}", where, JsonKindName(value)));
  }
  return std::move(value.as_object());
}

// The length of the UTF-8 character at the beginning of `text`; 0 if there is none (Unicode, table
// 3-7). Debian's fmt ends the process when it quotes what is not UTF-8.
size_t CharacterBytes(std::string_view text) {
  const auto byte = [&](size_t i) { return i < text.size() ? static_cast<uint8_t>(text[i]) : 0; };
  const uint8_t lead = byte(0);
  if (lead < 0x80) return 1;
  const size_t count = lead < 0xc2 ? 0 : lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : lead < 0xf5 ? 4 : 0;
  const uint8_t low = lead == 0xe0 ? 0xa0 : lead == 0xf0 ? 0x90 : 0x80;
  const uint8_t high = lead == 0xed ? 0x9f : lead == 0xf4 ? 0x8f : 0xbf;
  if (count == 0 || byte(1) < low || byte(1) > high) return 0;
  for (size_t i = 2; i < count; ++i) {
    if ((byte(i) & 0xc0) != 0x80) return 0;
  }
  return count;
}

tl::unexpected<Error> WrongKind(std::string_view wanted, const json::value& value) {
  return Fail(ErrorCode::kInvalidArgument,
              fmt::format("must be {}, is {}", wanted, JsonKindName(value)));
}

template <typename T>
Result<std::vector<T>> FromJsonArray(const json::value& value, std::string_view wanted) {
  if (!value.is_array()) return WrongKind(wanted, value);
  std::vector<T> items;
  items.reserve(value.get_array().size());
  for (const json::value& item : value.get_array()) {
    Result<T> converted = FromJson<T>(item);
    if (!converted) {
      return Annotate(std::move(converted.error()), fmt::format("entry {}", items.size()));
    }
    items.push_back(std::move(*converted));
  }
  return items;
}

}  // namespace

Result<json::object> ParseJsonObject(std::string_view text, std::string_view where,
                                     const JsonLimits& limits) {
  if (text.size() > limits.max_bytes) {
    return Fail(ErrorCode::kTooLarge,
                fmt::format("{}: {} bytes, the limit is {}", where, text.size(), limits.max_bytes));
  }
  try {
    return ParseChecked(text, where, limits);
  } catch (const std::exception& e) {  // out of memory, or a string beyond Boost's own limit
    return Fail(ErrorCode::kTooLarge, fmt::format("{}: {}", where, e.what()));
  }
}

Result<json::object> ReadJsonObject(const std::string& path, const JsonLimits& limits) {
  ASSIGN_OR_RETURN(const std::string text, ReadSmallFile(path, limits.max_bytes));
  return ParseJsonObject(text, path, limits);
}

Result<json::object> ReadJsonIfThere(const std::string& path, const JsonLimits& limits) {
  ASSIGN_OR_RETURN(const auto text, ReadFileIfThere(path, limits.max_bytes));
  if (!text) return json::object();
  return ParseJsonObject(*text, path, limits);
}

std::string_view JsonKindName(const json::value& value) {
  switch (value.kind()) {
    case json::kind::null:
      return "null";
    case json::kind::bool_:
      return "a boolean";
    case json::kind::int64:
    case json::kind::uint64:
      return "an integer";
    case json::kind::double_:
      return "a number with a fraction";
    case json::kind::string:
      return "a string";
    case json::kind::array:
      return "a list";
    case json::kind::object:
      return "an object";
  }
  return "?";
}

std::string Quoted(std::string_view name) {
  constexpr size_t kMaxBytes = 120;
  std::string shown;
  while (!name.empty() && shown.size() < kMaxBytes) {
    const size_t count = CharacterBytes(name);
    shown += count == 0 ? "\uFFFD" : name.substr(0, count);
    name.remove_prefix(std::max<size_t>(count, 1));
  }
  return fmt::format("{:?}{}", shown, name.empty() ? "" : "…");
}

template <>
Result<bool> FromJson<bool>(const json::value& value) {
  if (!value.is_bool()) return WrongKind("true or false", value);
  return value.get_bool();
}

template <>
Result<int64_t> FromJson<int64_t>(const json::value& value) {
  if (value.is_uint64()) {  // Boost keeps what fits as int64
    return Fail(ErrorCode::kInvalidArgument, fmt::format("{} is too large", value.get_uint64()));
  }
  if (!value.is_int64()) return WrongKind("an integer", value);
  return value.get_int64();
}

template <>
Result<double> FromJson<double>(const json::value& value) {
  if (value.is_int64()) return static_cast<double>(value.get_int64());
  if (value.is_uint64()) return static_cast<double>(value.get_uint64());
  if (!value.is_double()) return WrongKind("a number", value);
  return value.get_double();
}

template <>
Result<std::string> FromJson<std::string>(const json::value& value) {
  if (!value.is_string()) return WrongKind("a string", value);
  return std::string(value.get_string().data(), value.get_string().size());
}

template <>
Result<std::vector<int64_t>> FromJson<std::vector<int64_t>>(const json::value& value) {
  return FromJsonArray<int64_t>(value, "a list of integers");
}

template <>
Result<std::vector<std::string>> FromJson<std::vector<std::string>>(const json::value& value) {
  return FromJsonArray<std::string>(value, "a list of strings");
}

const json::value* JsonFields::Find(std::string_view key) const {
  const json::value* value = object_.if_contains(json::string_view(key.data(), key.size()));
  return value == nullptr || value->is_null() ? nullptr : value;
}

Result<int64_t> JsonFields::RequiredInRange(std::string_view key, int64_t min, int64_t max) const {
  ASSIGN_OR_RETURN(const int64_t value, Required<int64_t>(key));
  if (value < min || value > max) {
    return FieldError(key, fmt::format("is {}, must be {} to {}", value, min, max));
  }
  return value;
}

Result<int64_t> JsonFields::InRangeOr(std::string_view key, int64_t min, int64_t max,
                                      int64_t fallback) const {
  if (Find(key) == nullptr) return fallback;
  return RequiredInRange(key, min, max);
}

tl::unexpected<Error> JsonFields::FieldError(std::string_view key, std::string_view what,
                                             ErrorCode code) const {
  return Fail(code, fmt::format("{} {}", FieldName(key), what));
}

std::string JsonFields::FieldName(std::string_view key) const {
  return fmt::format("{}: {}", where_, Quoted(key));
}

}  // namespace lorry::formats
