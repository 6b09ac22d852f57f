// Reads typed fields of a client's JSON object and remembers the first thing that is wrong with it.
// Owns: the error. Thread: one. Never: throws; fields that nobody asks for are ignored, null counts
// as absent.
#pragma once

#include <boost/json.hpp>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace lorry::api::openai {

struct IntRange {
  int64_t min;
  int64_t max;
};

struct NumberRange {
  double min;
  double max;
  bool above_min = false;  // min itself is not allowed
};

// "a string", "the number 3", "'hot'": what a client sent, short enough for a message.
std::string Describe(const boost::json::value& value);

class FieldReader {
 public:
  // `path` stands before each field's name in `param`: "stream_options." or "messages[3].".
  explicit FieldReader(const boost::json::object& object, std::string path = {})
      : object_(object), path_(std::move(path)) {}

  // nullptr: absent or null. Names outlive the reader.
  const boost::json::value* Find(std::string_view name) const;

  // Each leaves `out` alone when the field is absent or wrong.
  void Bool(std::string_view name, bool& out);
  void Int(std::string_view name, IntRange range, int& out);
  void Int(std::string_view name, IntRange range, std::optional<int>& out);
  void Int64(std::string_view name, std::optional<int64_t>& out);
  void Number(std::string_view name, NumberRange range, float& out);
  void String(std::string_view name, std::string& out);

  // Of the fields that were not asked for, one that looks like a slip for one that was, and that is
  // absent: another spelling (maxTokens), or one mistake in a long name (temprature). Other unknown
  // fields are ignored, since clients send many.
  void RefuseMisspelt();

  // Says that `name` must be `expected` but is `got`.
  void Wrong(std::string_view name, std::string_view expected, const boost::json::value& got);
  void Fail(ErrorCode code, std::string_view name, std::string message);

  bool ok() const { return !error_; }
  Status status() const;
  std::string PathOf(std::string_view name) const { return path_ + std::string(name); }

 private:
  const boost::json::object& object_;
  const std::string path_;
  std::optional<Error> error_;
  mutable std::vector<std::string_view> asked_;
};

// The whole number in `value`, also when it is written as 16.0. Nothing for other kinds.
std::optional<int64_t> WholeNumber(const boost::json::value& value);

struct JsonLimits {
  size_t max_bytes = size_t{32} << 20;
  size_t max_depth = 64;
  size_t max_values = size_t{1} << 18;  // as JsonValues counts them
};

// That a body has more than max_values, counted up to `field`; "": somewhere.
tl::unexpected<Error> TooManyValues(std::string_view field, size_t max_values);

// One JSON object, or what is wrong with the text and where. A byte order mark before it is
// ignored.
Result<boost::json::object> ParseBody(std::string_view body, const JsonLimits& limits);

}  // namespace lorry::api::openai
