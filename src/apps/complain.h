// How a command says that something failed, or is not as it should be.
// Thread: any.
#pragma once

#include <string_view>

namespace lorry::apps {

// "lorry COMMAND: MESSAGE" on stderr, one line after all that was logged, whatever control
// characters are in it (names and paths are other people's). Returns `exit_status`.
int Complain(std::string_view command, std::string_view message, int exit_status = 1);

}  // namespace lorry::apps
