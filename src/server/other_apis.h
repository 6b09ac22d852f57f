// Paths of OpenAI's and of other servers' that clients ask for and that are not here.
// Owns: the table. Thread: any.
#pragma once

#include <string_view>

namespace lorry::server {

// What to do instead, as a sentence; "": the path is none of those.
std::string_view InsteadOf(std::string_view path);

}  // namespace lorry::server
