#include "apps/adapter_arguments.h"

#include <fmt/core.h>

#include <boost/json.hpp>
#include <filesystem>
#include <set>

#include "request/model_directory.h"

namespace lorry::apps {
namespace {

namespace json = boost::json;

Result<AdapterArgument> Checked(AdapterArgument adapter) {
  RETURN_IF_ERROR(CheckAdapterName(adapter.name));
  if (adapter.path.empty()) {
    return Fail(
        ErrorCode::kInvalidArgument,
        fmt::format("adapter `{}` has no source; was a variable never set? Write NAME=SOURCE",
                    adapter.name));
  }
  return adapter;
}

Result<AdapterArgument> FromJsonValue(const json::value& value) {
  const json::object* object = value.if_object();
  const json::value* name = object == nullptr ? nullptr : object->if_contains("name");
  const json::value* path = object == nullptr ? nullptr : object->if_contains("path");
  if (name == nullptr || path == nullptr || !name->is_string() || !path->is_string()) {
    return Fail(ErrorCode::kInvalidArgument,
                R"(an adapter as JSON is {"name": "...", "path": "..."})");
  }
  return Checked({std::string(name->get_string()), std::string(path->get_string())});
}

}  // namespace

Result<AdapterArgument> ParseAdapterArgument(const std::string& text) {
  // A path may hold '=' itself ("./a=b"), a name may not begin with '.' or '/'.
  const size_t equals = text.find('=');
  const bool named = equals != std::string::npos && text[0] != '.' && text[0] != '/';
  if (named) return Checked({text.substr(0, equals), text.substr(equals + 1)});
  std::filesystem::path path(text);
  if (!path.has_filename()) path = path.parent_path();
  const std::string name = path.filename();
  if (!CheckAdapterName(name)) {
    return Fail(ErrorCode::kInvalidArgument,
                fmt::format("'{}' does not end in a usable name; write NAME=PATH", text));
  }
  return Checked({name, text});
}

Result<std::vector<AdapterArgument>> ParseLoraModules(const std::string& text) {
  std::vector<AdapterArgument> adapters;
  if (!text.starts_with('{') && !text.starts_with('[')) {
    if (text.find('=') == std::string::npos) {
      return Fail(ErrorCode::kInvalidArgument,
                  fmt::format("'{}' is neither name=path nor JSON; the list ends at the next flag, "
                              "so write MODEL before it",
                              text));
    }
    ASSIGN_OR_RETURN(AdapterArgument adapter, ParseAdapterArgument(text));
    adapters.push_back(std::move(adapter));
    return adapters;
  }
  boost::system::error_code error;
  const json::value value = json::parse(text, error);
  if (error) {
    return Fail(ErrorCode::kInvalidArgument,
                fmt::format("'{}' is not valid JSON: {}", text, error.message()));
  }
  if (const json::array* list = value.if_array()) {
    for (const json::value& element : *list) {
      ASSIGN_OR_RETURN(AdapterArgument adapter, FromJsonValue(element));
      adapters.push_back(std::move(adapter));
    }
  } else {
    ASSIGN_OR_RETURN(AdapterArgument adapter, FromJsonValue(value));
    adapters.push_back(std::move(adapter));
  }
  return adapters;
}

AdapterArguments ParseAdapterArguments(const std::vector<std::string>& adapters,
                                       const std::vector<std::string>& lora_modules) {
  AdapterArguments all;
  std::set<std::string> names;
  const auto add = [&](AdapterArgument adapter) {
    if (names.insert(adapter.name).second) return all.adapters.push_back(std::move(adapter));
    all.errors.push_back({ErrorCode::kConflict,
                          fmt::format("two adapters are named '{}': write --adapter OTHER_NAME={}",
                                      adapter.name, adapter.path),
                          ""});
  };
  for (const std::string& text : adapters) {
    auto adapter = ParseAdapterArgument(text);
    if (adapter) {
      add(std::move(*adapter));
    } else {
      all.errors.push_back(Annotate(std::move(adapter.error()), "--adapter").value());
    }
  }
  for (const std::string& text : lora_modules) {
    auto parsed = ParseLoraModules(text);
    if (!parsed) {
      all.errors.push_back(Annotate(std::move(parsed.error()), "--lora-modules").value());
      continue;
    }
    for (AdapterArgument& adapter : *parsed) add(std::move(adapter));
  }
  return all;
}

Result<adapters::SourceUri> ParseSourceWord(const std::string& word) {
  std::error_code error;
  const bool is_here = std::filesystem::exists(word, error);
  return adapters::ParseSourceUri(is_here ? std::filesystem::absolute(word, error).string() : word);
}

}  // namespace lorry::apps
