#include "apps/complain.h"

#include <fmt/core.h>

#include "base/log.h"

namespace lorry::apps {

int Complain(std::string_view command, std::string_view message, int exit_status) {
  log::WritePlain(fmt::format("lorry {}: {}", command, message));
  log::Flush();
  return exit_status;
}

}  // namespace lorry::apps
