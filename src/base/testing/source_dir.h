// Where the project's sources lie on the machine that built the tests. Only one file is compiled
// with that path, so that a compiler cache serves every other one to a checkout elsewhere. Thread:
// any.
#pragma once

#include <string>
#include <string_view>

namespace lorry {

// The absolute path of `name`, a path within the project.
std::string SourcePath(std::string_view name);

}  // namespace lorry
