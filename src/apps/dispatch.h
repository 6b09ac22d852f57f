// From the words of the command line to one of the commands: loads its options, shows help, reports
// what was mistyped.
#pragma once

#include <string>
#include <vector>

namespace lorry::apps {

// The exit status: 0 well, 1 failed, 2 the command line is wrong.
int Dispatch(const std::vector<std::string>& args);

}  // namespace lorry::apps
