// argv split into flags with their values and the words between them. Nothing is stored yet:
// config/load.h does that. Owns: nothing. Thread: one. Pure.
#pragma once

#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "config/option.h"

namespace lorry::config {

struct CommandLine {
  std::map<std::string, std::vector<std::string>> values;  // by option name
  std::vector<std::string> words;                          // MODEL, PROMPT
  bool help = false;                                       // --help or -h
};

// `args` after the command's name. --name VALUE, --name=VALUE, --switch, --no-switch; after "--"
// all are words. An unknown flag is an error with a suggestion.
Result<CommandLine> SplitCommandLine(const Registry& registry, std::string_view command,
                                     const std::vector<std::string>& args);

}  // namespace lorry::config
