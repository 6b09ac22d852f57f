// Checked reading of JSON files: every error names the file and the field.
// Owns: nothing. Thread: any. Never: throws, or recurses deeper than the limit given.
#pragma once

#include <boost/json/object.hpp>
#include <boost/json/value.hpp>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace lorry::formats {

struct JsonLimits {
  size_t max_bytes = size_t{64} << 20;  // tokenizer.json of large vocabularies is 10 to 35 MB
  size_t max_depth = 64;
  // Python's json keeps the last of two equal keys, and so do we unless this is set.
  bool refuse_duplicate_keys = false;
};

// `where` names the source in errors. The text must be one JSON object.
Result<boost::json::object> ParseJsonObject(std::string_view text, std::string_view where,
                                            const JsonLimits& limits = {});
Result<boost::json::object> ReadJsonObject(const std::string& path, const JsonLimits& limits = {});
// Empty if there is no such file.
Result<boost::json::object> ReadJsonIfThere(const std::string& path, const JsonLimits& limits = {});

// "a string", "an object", …: what a value is, for messages.
std::string_view JsonKindName(const boost::json::value& value);

// A name out of a file, for messages: quoted, control characters escaped, cut at 120 bytes.
std::string Quoted(std::string_view name);

// Converts one value; T is bool, int64_t, double, std::string or a vector of int64_t or
// std::string. A double may be written as an integer, never the other way round. Boost 1.81 reads
// fractions to within one unit in the last place.
template <typename T>
Result<T> FromJson(const boost::json::value& value);
template <>
Result<bool> FromJson<bool>(const boost::json::value& value);
template <>
Result<int64_t> FromJson<int64_t>(const boost::json::value& value);
template <>
Result<double> FromJson<double>(const boost::json::value& value);
template <>
Result<std::string> FromJson<std::string>(const boost::json::value& value);
template <>
Result<std::vector<int64_t>> FromJson<std::vector<int64_t>>(const boost::json::value& value);
template <>
Result<std::vector<std::string>> FromJson<std::vector<std::string>>(
    const boost::json::value& value);

// Typed access to the fields of an object that outlives it. A field that is null counts as absent,
// as it does for the Python libraries that write these files.
class JsonFields {
 public:
  JsonFields(const boost::json::object& object, std::string where)
      : object_(object), where_(std::move(where)) {}

  const boost::json::object& object() const { return object_; }
  const std::string& where() const { return where_; }

  // nullptr if absent or null.
  const boost::json::value* Find(std::string_view key) const;

  template <typename T>
  Result<std::optional<T>> Optional(std::string_view key) const {
    const boost::json::value* value = Find(key);
    if (value == nullptr) return std::optional<T>();
    Result<T> converted = FromJson<T>(*value);
    if (!converted) return Annotate(std::move(converted.error()), FieldName(key));
    return std::optional<T>(std::move(*converted));
  }

  template <typename T>
  Result<T> Or(std::string_view key, T fallback) const {
    ASSIGN_OR_RETURN(std::optional<T> value, Optional<T>(key));
    return value ? std::move(*value) : std::move(fallback);
  }

  template <typename T>
  Result<T> Required(std::string_view key) const {
    ASSIGN_OR_RETURN(std::optional<T> value, Optional<T>(key));
    if (!value) return FieldError(key, "is missing");
    return std::move(*value);
  }

  // Required and Or for an integer that must lie in [min, max].
  Result<int64_t> RequiredInRange(std::string_view key, int64_t min, int64_t max) const;
  Result<int64_t> InRangeOr(std::string_view key, int64_t min, int64_t max, int64_t fallback) const;

  // An error of this file's: `config.json: "rope_theta": what`.
  tl::unexpected<Error> FieldError(std::string_view key, std::string_view what,
                                   ErrorCode code = ErrorCode::kInvalidArgument) const;

 private:
  std::string FieldName(std::string_view key) const;

  const boost::json::object& object_;
  std::string where_;
};

}  // namespace lorry::formats
