// The registry as people read it: --help, and docs/config.md.
// Owns: nothing. Thread: any. Pure.
#pragma once

#include <string>
#include <string_view>

#include "config/option.h"

namespace lorry::config {

// The options of one command in groups, with defaults and variables, for a terminal of 100 columns.
std::string HelpText(const Registry& registry, std::string_view command);

// All options as a page: a table a group.
std::string MarkdownText(const Registry& registry);

// The tables alone, to go on with after it.
std::string MarkdownTables(const Registry& registry);

}  // namespace lorry::config
