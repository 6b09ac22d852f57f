// The TOML file of --config: one key an option, named as the flag.
// Owns: nothing. Thread: one. Never: lets the TOML library's exceptions out.
#pragma once

#include <string>
#include <vector>

#include "base/result.h"

namespace lorry::config {

struct FileEntry {
  std::string key;
  std::vector<std::string> values;  // one, or those of an array; numbers and switches as text
  std::string where;                // "lorry.toml:3"
};

// In the order of the file. Values must be strings, numbers, booleans or arrays of these; tables
// are refused.
Result<std::vector<FileEntry>> ReadTomlFile(const std::string& path);

}  // namespace lorry::config
