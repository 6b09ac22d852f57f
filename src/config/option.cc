#include "config/option.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/check.h"
#include "config/value.h"

namespace lorry::config {
namespace {

std::string Canonical(std::string_view name) {
  std::string result(name);
  std::replace(result.begin(), result.end(), '_', '-');
  return result;
}

Status NotAmong(const std::string& value, const std::vector<std::string>& choices) {
  if (choices.empty() || std::find(choices.begin(), choices.end(), value) != choices.end())
    return {};
  return Fail(ErrorCode::kInvalidArgument,
              fmt::format("'{}' is not one of {}", value, fmt::join(choices, ", ")));
}

std::string_view Trimmed(std::string_view text) {
  constexpr std::string_view kSpace = " \t\r\n\v\f";
  const size_t begin = text.find_first_not_of(kSpace);
  if (begin == std::string_view::npos) return {};
  return text.substr(begin, text.find_last_not_of(kSpace) - begin + 1);
}

// A setter for one value, from a parser and a field.
template <typename T, typename Parse>
auto Store(T* field, Parse parse) {
  return [field, parse](const std::vector<std::string>& values) -> Status {
    auto parsed = parse(values.back());
    if (!parsed) return tl::unexpected<Error>(std::move(parsed.error()));
    *field = static_cast<T>(std::move(*parsed));
    return {};
  };
}

}  // namespace

bool Option::TakenBy(std::string_view command) const {
  return std::find(commands.begin(), commands.end(), command) != commands.end();
}

Status CheckNotEmpty(const Option& option, const std::vector<std::string>& values) {
  const bool is_list = option.arity == Arity::kMany || option.arity == Arity::kGreedy;
  const auto fail = [](std::string_view what) {
    return Fail(
        ErrorCode::kInvalidArgument,
        fmt::format("{}; was a variable never set? Leave it out, or give it a value", what));
  };
  if (option.text.guards && values.empty()) return fail("an empty list");
  for (const std::string& value : values) {
    const std::string_view trimmed = Trimmed(value);
    if (is_list && trimmed.empty()) return fail("an empty entry");
    if (!option.text.guards) continue;
    if (trimmed.empty() || trimmed == "\"\"" || trimmed == "''") return fail("an empty value");
    if (trimmed.size() != value.size()) {
      return Fail(ErrorCode::kInvalidArgument, "the value begins or ends with white space");
    }
  }
  return {};
}

std::string Option::Variable() const { return VariableOf(text.name); }

std::string VariableOf(std::string_view option_name) {
  std::string result = "LORRY_";
  for (const char c : option_name) {
    const bool lower = c >= 'a' && c <= 'z';
    result += c == '-' ? '_' : static_cast<char>(lower ? c - 'a' + 'A' : c);
  }
  return result;
}

void Registry::Group(std::string heading, std::vector<std::string> commands) {
  group_ = std::move(heading);
  commands_ = std::move(commands);
}

Option& Registry::Add(OptionText text, Arity arity, std::string value_name,
                      std::string default_text) {
  CHECK_MSG(Find(text.name) == nullptr, "option {} is registered twice", text.name);
  if (text.value_name.empty()) text.value_name = std::move(value_name);
  if (text.default_text.empty()) text.default_text = std::move(default_text);
  Option option;
  option.text = std::move(text);
  option.group = group_;
  option.commands = commands_;
  option.arity = arity;
  options_.push_back(std::move(option));
  return options_.back();
}

void Registry::Switch(OptionText text, bool* field) {
  Add(std::move(text), Arity::kSwitch, "", *field ? "on" : "off").set = Store(field, ParseSwitch);
}

void Registry::Integer(OptionText text, int* field, int64_t min, int64_t max) {
  CHECK(min >= std::numeric_limits<int>::min() && max <= std::numeric_limits<int>::max());
  const auto parse = [min, max](const std::string& written) -> Result<int64_t> {
    ASSIGN_OR_RETURN(const int64_t value, ParseInteger(written));
    if (value < min || value > max) {
      return Fail(ErrorCode::kInvalidArgument,
                  fmt::format("{} is not between {} and {}", value, min, max));
    }
    return value;
  };
  Add(std::move(text), Arity::kOne, "N", fmt::format("{}", *field)).set = Store(field, parse);
}

void Registry::Bytes(OptionText text, size_t* field) {
  Add(std::move(text), Arity::kOne, "SIZE", ShowBytes(*field)).set = Store(field, ParseBytes);
}

void Registry::Duration(OptionText text, Micros* field) {
  Add(std::move(text), Arity::kOne, "TIME", ShowDuration(*field)).set = Store(field, ParseDuration);
}

void Registry::Duration(OptionText text, std::chrono::milliseconds* field) {
  const auto parse = [](const std::string& written) -> Result<std::chrono::milliseconds> {
    ASSIGN_OR_RETURN(const Micros duration_us, ParseDuration(written));
    return std::chrono::ceil<std::chrono::milliseconds>(std::chrono::microseconds(duration_us));
  };
  Add(std::move(text), Arity::kOne, "TIME", ShowDuration(field->count() * 1000)).set =
      Store(field, parse);
}

void Registry::Text(OptionText text, std::string* field) {
  Add(std::move(text), Arity::kOne, "TEXT", *field).set =
      [field](const std::vector<std::string>& values) -> Status {
    *field = values.back();
    return {};
  };
}

void Registry::Choice(OptionText text, std::string* field, std::vector<std::string> choices) {
  Custom(std::move(text), std::move(choices), *field, [field](const std::string& value) -> Status {
    *field = value;
    return {};
  });
}

void Registry::List(OptionText text, std::vector<std::string>* field, Arity arity) {
  CHECK(arity == Arity::kMany || arity == Arity::kGreedy);
  Add(std::move(text), arity, "TEXT", fmt::format("{}", fmt::join(*field, ", "))).set =
      [field](const std::vector<std::string>& values) -> Status {
    *field = values;
    return {};
  };
}

void Registry::Custom(OptionText text, std::vector<std::string> choices, std::string default_text,
                      std::function<Status(const std::string&)> set) {
  const std::string value_name =
      choices.empty() ? "TEXT" : fmt::format("{}", fmt::join(choices, "|"));
  Option& option = Add(std::move(text), Arity::kOne, value_name, std::move(default_text));
  option.choices = std::move(choices);
  option.set = [choices = option.choices,
                set = std::move(set)](const std::vector<std::string>& values) -> Status {
    RETURN_IF_ERROR(NotAmong(values.back(), choices));
    return set(values.back());
  };
}

Option* Registry::Find(std::string_view name) {
  return const_cast<Option*>(static_cast<const Registry*>(this)->Find(name));
}

const Option* Registry::Find(std::string_view name) const {
  const std::string wanted = Canonical(name);
  for (const Option& option : options_) {
    if (option.text.name == wanted) return &option;
  }
  return nullptr;
}

std::vector<const Option*> Registry::Of(std::string_view command) const {
  std::vector<const Option*> result;
  for (const Option& option : options_) {
    if (option.TakenBy(command)) result.push_back(&option);
  }
  return result;
}

std::vector<std::string> Registry::NamesOf(std::string_view command) const {
  std::vector<std::string> names;
  for (const Option* option : Of(command)) names.push_back(option->text.name);
  return names;
}

std::string Registry::Origin(std::string_view name) const {
  const Option* option = Find(name);
  CHECK_MSG(option != nullptr, "no option {}", name);
  return option->set_by.empty() ? option->Flag() : option->set_by;
}

}  // namespace lorry::config
