#include "api/openai/field_reader.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "api/openai/body_form.h"
#include "api/openai/json_values.h"
#include "base/ascii.h"
#include "base/spelling.h"

namespace lorry::api::openai {
namespace {

namespace json = boost::json;

constexpr size_t kMaxShownBytes = 40;

std::string Shown(std::string_view text) {
  if (text.size() <= kMaxShownBytes) return fmt::format("'{}'", text);
  size_t end = kMaxShownBytes;
  while (end > 0 && (static_cast<unsigned char>(text[end]) & 0xC0) == 0x80) --end;
  return fmt::format("'{}…'", text.substr(0, end));
}

std::string RangeText(std::string_view kind, NumberRange range) {
  if (range.max >= static_cast<double>(std::numeric_limits<int>::max())) {
    return fmt::format("{} {} {}", kind, range.above_min ? "above" : "of at least", range.min);
  }
  if (range.above_min) {
    return fmt::format("{} above {} and at most {}", kind, range.min, range.max);
  }
  return fmt::format("{} from {} to {}", kind, range.min, range.max);
}

// Without what the ways to write a name of several words differ in.
std::string Plain(std::string_view name) {
  std::string plain;
  for (const char c : name) {
    if (c == '_' || c == '-') continue;
    plain += AsciiLower(c);
  }
  return plain;
}

bool IsSlip(std::string_view name, std::string_view known) {
  // One letter makes another short name, as of top_a and top_k.
  constexpr size_t kLongBytes = 8;
  constexpr size_t kMaxMarks = 4;  // between the words of a name
  if (std::max(name.size(), known.size()) > std::min(name.size(), known.size()) + kMaxMarks) {
    return false;
  }
  if (Plain(name) == Plain(known)) return true;
  return known.size() >= kLongBytes && EditDistance(name, known) <= 1;
}

}  // namespace

std::string Describe(const json::value& value) {
  switch (value.kind()) {
    case json::kind::null:
      return "null";
    case json::kind::bool_:
      return value.get_bool() ? "true" : "false";
    case json::kind::int64:
      return fmt::format("{}", value.get_int64());
    case json::kind::uint64:
      return fmt::format("{}", value.get_uint64());
    case json::kind::double_:
      return fmt::format("{}", value.get_double());
    case json::kind::string:
      return Shown(value.get_string());
    case json::kind::array:
      return value.get_array().empty() ? "an empty list" : "a list";
    case json::kind::object:
      return "an object";
  }
  return "something else";
}

std::optional<int64_t> WholeNumber(const json::value& value) {
  if (value.is_int64()) return value.get_int64();
  if (!value.is_double()) return std::nullopt;
  const double number = value.get_double();
  constexpr double kExact =
      9007199254740992.0;  // 2^53: beyond it a double cannot say which integer it is
  if (std::trunc(number) != number || std::abs(number) > kExact) return std::nullopt;
  return static_cast<int64_t>(number);
}

const json::value* FieldReader::Find(std::string_view name) const {
  if (asked_.empty() || asked_.back() != name) asked_.push_back(name);
  const json::value* value = object_.if_contains(json::string_view(name.data(), name.size()));
  return value == nullptr || value->is_null() ? nullptr : value;
}

void FieldReader::Bool(std::string_view name, bool& out) {
  const json::value* value = Find(name);
  if (value == nullptr) return;
  if (!value->is_bool()) return Wrong(name, "true or false", *value);
  out = value->get_bool();
}

void FieldReader::Int(std::string_view name, IntRange range, std::optional<int>& out) {
  const json::value* value = Find(name);
  if (value == nullptr) return;
  const std::optional<int64_t> number = WholeNumber(*value);
  if (!number || *number < range.min || *number > range.max) {
    const NumberRange shown = {static_cast<double>(range.min), static_cast<double>(range.max)};
    return Wrong(name, RangeText("an integer", shown), *value);
  }
  out = static_cast<int>(*number);
}

void FieldReader::Int(std::string_view name, IntRange range, int& out) {
  std::optional<int> number;
  Int(name, range, number);
  if (number) out = *number;
}

void FieldReader::Int64(std::string_view name, std::optional<int64_t>& out) {
  const json::value* value = Find(name);
  if (value == nullptr) return;
  out = WholeNumber(*value);
  if (!out) Wrong(name, "an integer of at most 64 bits", *value);
}

void FieldReader::Number(std::string_view name, NumberRange range, float& out) {
  const json::value* value = Find(name);
  if (value == nullptr) return;
  double number = std::numeric_limits<double>::quiet_NaN();
  if (value->is_number()) number = value->to_number<double>();
  const bool inside = range.above_min ? number > range.min : number >= range.min;
  if (!inside || !(number <= range.max)) return Wrong(name, RangeText("a number", range), *value);
  out = static_cast<float>(number);
}

void FieldReader::String(std::string_view name, std::string& out) {
  const json::value* value = Find(name);
  if (value == nullptr) return;
  if (!value->is_string()) return Wrong(name, "a string", *value);
  out.assign(value->get_string().data(), value->get_string().size());
}

void FieldReader::RefuseMisspelt() {
  constexpr size_t kMaxLooked = 64;  // of unknown fields, that the work is bounded
  constexpr size_t kMaxBytes = 40;
  size_t num_looked = 0;
  for (const auto& [key, value] : object_) {
    const std::string_view name(key.data(), key.size());
    if (value.is_null() || name.size() > kMaxBytes) continue;
    if (std::ranges::find(asked_, name) != asked_.end()) continue;
    if (++num_looked > kMaxLooked) return;
    const auto meant =
        std::ranges::find_if(asked_, [&](std::string_view asked) { return IsSlip(name, asked); });
    if (meant == asked_.end() || object_.contains(json::string_view(meant->data(), meant->size())))
      continue;
    return Fail(ErrorCode::kInvalidArgument, name,
                fmt::format("There is no field '{}'; did you mean '{}'?", name, *meant));
  }
}

void FieldReader::Wrong(std::string_view name, std::string_view expected, const json::value& got) {
  Fail(ErrorCode::kInvalidArgument, name,
       fmt::format("'{}' must be {}, not {}.", PathOf(name), expected, Describe(got)));
}

void FieldReader::Fail(ErrorCode code, std::string_view name, std::string message) {
  if (!error_) error_ = Error{code, std::move(message), PathOf(name)};
}

Status FieldReader::status() const {
  if (error_) return tl::unexpected<Error>(*error_);
  return {};
}

tl::unexpected<Error> TooManyValues(std::string_view field, size_t max_values) {
  const std::string place = field.empty() ? "" : fmt::format("; '{}' goes beyond it", field);
  return lorry::Fail(ErrorCode::kTooLarge,
                     fmt::format("The body has too many lists, objects and values in them: the "
                                 "limit is {} together{}.",
                                 max_values, place),
                     std::string(field));
}

Result<json::object> ParseBody(std::string_view sent, const JsonLimits& limits) {
  const std::string_view body = WithoutByteOrderMark(sent);
  const auto not_json = [](std::string_view why) {
    return lorry::Fail(ErrorCode::kInvalidArgument,
                       fmt::format("The body is not valid JSON: {}", why));
  };
  if (body.size() > limits.max_bytes) {
    return lorry::Fail(ErrorCode::kTooLarge, fmt::format("The body has {} bytes; the limit is {}.",
                                                         body.size(), limits.max_bytes));
  }
  if (const std::string_view form = OtherForm(body); !form.empty()) return not_json(form);
  if (JsonValues values(limits.max_values); !values.Take(body)) {
    return TooManyValues(values.last_field(), limits.max_values);
  }
  json::parse_options options;
  options.max_depth = limits.max_depth;
  json::stream_parser parser({}, options);
  json::error_code error;
  size_t num_read = parser.write_some(body.data(), body.size(), error);
  if (!error) {
    while (num_read < body.size() &&
           std::string_view(" \t\r\n").find(body[num_read]) != std::string_view::npos) {
      ++num_read;
    }
    if (num_read < body.size()) error = json::error::extra_data;
  }
  if (!error) parser.finish(error);
  if (error == json::error::too_deep) {
    return lorry::Fail(ErrorCode::kInvalidArgument,
                       fmt::format("The body is nested deeper than {} levels.", limits.max_depth));
  }
  if (error) {
    if (const std::string encoding = OtherEncoding(body); !encoding.empty()) {
      return not_json(encoding);
    }
    return not_json(fmt::format("{} at byte {} of {}.", error.message(), num_read, body.size()));
  }
  json::value value = parser.release();
  if (!value.is_object()) {
    return lorry::Fail(ErrorCode::kInvalidArgument,
                       fmt::format("The body must be a JSON object, not {}.", Describe(value)));
  }
  return std::move(value.get_object());
}

}  // namespace lorry::api::openai
