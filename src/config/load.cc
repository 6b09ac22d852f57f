#include "config/load.h"

#include <fmt/core.h>
#include <unistd.h>

#include <algorithm>

#include "base/spelling.h"
#include "config/command_line.h"
#include "config/toml_file.h"

namespace lorry::config {
namespace {

constexpr std::string_view kPrefix = "LORRY_";
// Read by the tests, not by the program.
constexpr std::string_view kTestData = "LORRY_TEST_DATA";

// What vLLM's users have set already. Lorry's own variable of the option wins.
struct VllmVariable {
  std::string_view name;
  std::string_view option;
};
constexpr VllmVariable kVllmVariables[] = {
    {"VLLM_ALLOW_RUNTIME_LORA_UPDATING", "allow-runtime-lora-updating"},
    {"VLLM_API_KEY", "api-key"},
};

bool IsVllmVariable(std::string_view name) {
  return std::any_of(std::begin(kVllmVariables), std::end(kVllmVariables),
                     [name](const VllmVariable& variable) { return variable.name == name; });
}

std::vector<std::string> SplitAtCommas(const std::string& text) {
  std::vector<std::string> parts;
  size_t begin = 0;
  while (begin <= text.size()) {
    const size_t comma = std::min(text.find(',', begin), text.size());
    parts.push_back(text.substr(begin, comma - begin));
    begin = comma + 1;
  }
  return parts;
}

Status Set(Option& option, const std::vector<std::string>& values, const std::string& where) {
  const bool one = option.arity == Arity::kOne || option.arity == Arity::kSwitch;
  if (one && values.empty()) {
    return Fail(ErrorCode::kInvalidArgument, fmt::format("{}: needs a value", where),
                option.text.name);
  }
  Status status = CheckNotEmpty(option, values);
  if (status) status = option.set(values);
  if (!status) {
    status.error().param = option.text.name;
    return Annotate(std::move(status.error()), where);
  }
  option.set_by = where;
  return {};
}

Status ApplyFile(Registry& registry, std::string_view command, const std::string& path,
                 std::string_view named_by) {
  const Result<std::vector<FileEntry>> entries = ReadTomlFile(path);
  if (!entries && entries.error().code == ErrorCode::kNotFound) {
    return Annotate(entries.error(), named_by);
  }
  if (!entries) return tl::unexpected<Error>(entries.error());  // it names the line
  for (const FileEntry& entry : *entries) {
    Option* option = registry.Find(entry.key);
    if (option == nullptr) {
      std::vector<std::string> known;
      for (const Option& each : registry.options()) known.push_back(each.text.name);
      const std::string nearest = Nearest(entry.key, known);
      return Fail(ErrorCode::kInvalidArgument,
                  fmt::format("{}: unknown key {}{}", entry.where, entry.key,
                              nearest.empty() ? "" : fmt::format(", did you mean {}?", nearest)));
    }
    if (!option->TakenBy(command)) continue;
    if (entry.values.size() != 1 &&
        (option->arity == Arity::kOne || option->arity == Arity::kSwitch)) {
      return Fail(ErrorCode::kInvalidArgument,
                  fmt::format("{}: {} takes one value, not an array", entry.where, entry.key));
    }
    RETURN_IF_ERROR(Set(*option, entry.values, entry.where));
  }
  return {};
}

bool HasVariable(const Registry* registry, std::string_view variable) {
  if (registry == nullptr) return false;
  const auto& options = registry->options();
  return std::any_of(options.begin(), options.end(),
                     [variable](const Option& option) { return option.Variable() == variable; });
}

// vLLM takes its variables whole: a key may have a comma, and a switch is on for these words only.
Status ApplyVllmVariables(Registry& registry, std::string_view command,
                          const Environment& environment) {
  for (const VllmVariable& known : kVllmVariables) {
    Option* option = registry.Find(known.option);
    if (option == nullptr || !option->TakenBy(command)) continue;
    for (const auto& [variable, value] : environment) {
      if (variable != known.name) continue;
      const bool is_switch = option->arity == Arity::kSwitch;
      if (is_switch && value.empty()) continue;  // as if it were not set
      const bool is_on = value == "1" || value == "true" || value == "True" || value == "TRUE";
      const std::string switched = is_on ? "true" : "false";
      RETURN_IF_ERROR(Set(*option, {is_switch ? switched : value}, variable));
    }
  }
  return {};
}

Status ApplyEnvironment(Registry& registry, std::string_view command,
                        const Environment& environment, const Registry* elsewhere,
                        std::vector<std::string>& warnings) {
  for (const auto& [variable, value] : environment) {
    if (!variable.starts_with(kPrefix) || variable == kTestData) continue;
    Option* found = nullptr;
    std::vector<std::string> known;
    for (const Option& option : registry.options()) {
      known.push_back(option.Variable());
      if (known.back() == variable) found = registry.Find(option.text.name);
    }
    if (value.empty() && (found == nullptr || !found->text.guards)) continue;
    if (found == nullptr) {
      if (HasVariable(elsewhere, variable)) continue;
      const std::string nearest = Nearest(variable, known);
      warnings.push_back(
          fmt::format("the environment variable {} means nothing to lorry{}", variable,
                      nearest.empty() ? "" : fmt::format(", did you mean {}?", nearest)));
      continue;
    }
    if (!found->TakenBy(command)) continue;
    const bool list = found->arity == Arity::kMany || found->arity == Arity::kGreedy;
    // A JSON value has commas of its own.
    const bool json = value.starts_with('{') || value.starts_with('[');
    RETURN_IF_ERROR(
        Set(*found, list && !json ? SplitAtCommas(value) : std::vector{value}, variable));
  }
  return {};
}

struct ConfigFile {
  std::string path;  // empty: none
  std::string named_by;
};

// --config, else LORRY_CONFIG, else none.
ConfigFile FindConfigFile(const CommandLine& line, const Environment& environment) {
  if (const auto flag = line.values.find("config"); flag != line.values.end()) {
    return {flag->second.back(), "--config"};
  }
  for (const auto& [variable, value] : environment) {
    if (variable == "LORRY_CONFIG") return {value, variable};
  }
  return {};
}

}  // namespace

Environment ProcessEnvironment() {
  Environment result;
  for (char** entry = environ; *entry != nullptr; ++entry) {
    const std::string_view text(*entry);
    const size_t equals = text.find('=');
    if (equals == std::string_view::npos) continue;
    const std::string_view name = text.substr(0, equals);
    if (!name.starts_with(kPrefix) && !IsVllmVariable(name)) continue;
    result.emplace_back(name, text.substr(equals + 1));
  }
  return result;
}

Result<Loaded> Load(Registry& registry, std::string_view command,
                    const std::vector<std::string>& args, const Environment& environment,
                    const Registry* elsewhere) {
  ASSIGN_OR_RETURN(CommandLine line, SplitCommandLine(registry, command, args));
  Loaded loaded;
  loaded.help = line.help;
  if (loaded.help) return loaded;
  const Option* config = registry.Find("config");
  if (config != nullptr && config->TakenBy(command)) {
    const auto [path, named_by] = FindConfigFile(line, environment);
    const bool is_blank = path.find_first_not_of(" \t\r\n\v\f") == std::string::npos;
    if (!is_blank) RETURN_IF_ERROR(ApplyFile(registry, command, path, named_by));
  }
  RETURN_IF_ERROR(ApplyVllmVariables(registry, command, environment));
  RETURN_IF_ERROR(ApplyEnvironment(registry, command, environment, elsewhere, loaded.warnings));
  for (const auto& [name, values] : line.values) {
    Option* option = registry.Find(name);
    RETURN_IF_ERROR(Set(*option, values, option->Flag()));
  }
  loaded.words = std::move(line.words);
  return loaded;
}

}  // namespace lorry::config
