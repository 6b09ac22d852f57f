// lorry version: what this binary is, and what it would use here.
#include <fmt/core.h>

#include "apps/commands.h"
#include "apps/complain.h"
#include "apps/machine.h"
#include "config/value.h"
#include "kernels/isa.h"

namespace lorry::apps {

int Version(const Options& options) {
  if (const Status status = kernels::SelectIsa(options.stack.cpu); !status) {
    return Complain("version", status.error().message);
  }
  fmt::print("lorry {} ({} build, {})\n", LORRY_VERSION, LORRY_BUILD_TYPE, LORRY_COMPILER);
  fmt::print("kernels: {} selected, {} is the best here\n",
             kernels::IsaName(kernels::SelectedIsa()), kernels::IsaName(kernels::BestIsa()));
  fmt::print("machine: {} cores, {} memory available\n", UsableCores(),
             config::RoundBytes(AvailableMemoryBytes()));
  return 0;
}

}  // namespace lorry::apps
