// Fills the registry's fields: defaults < TOML file < LORRY_* environment < flags. Every error says
// where the value stood: "--port: ...", "lorry.toml:3: ...", "LORRY_PORT: ...". Owns: nothing.
// Thread: one, before anything starts.
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/result.h"
#include "config/option.h"

namespace lorry::config {

using Environment = std::vector<std::pair<std::string, std::string>>;  // name, value

// The LORRY_* variables of this process, and those of vLLM that mean an option here.
Environment ProcessEnvironment();

struct Loaded {
  std::vector<std::string> words;     // what is not an option: MODEL, PROMPT
  std::vector<std::string> warnings;  // LORRY_ variables that mean nothing
  bool help = false;                  // --help: nothing was stored
};

// The file is the one of the option "config", where the registry has it. Keys and variables of
// other commands' options are passed over; unknown keys are errors, unknown variables warnings,
// both with a suggestion. In a variable, the values of a list are separated by commas; an empty one
// counts as unset, unless its option guards something. Variables of options in `elsewhere`, of
// commands with a registry of their own, are passed over too.
Result<Loaded> Load(Registry& registry, std::string_view command,
                    const std::vector<std::string>& args, const Environment& environment,
                    const Registry* elsewhere = nullptr);

}  // namespace lorry::config
