#include "base/check.h"

#include <cstdio>
#include <cstdlib>

#include "base/log.h"

namespace lorry {

void CheckFailed(const char* file, int line, const char* condition, const std::string& detail) {
  log::Flush();  // what led to it comes first
  std::fprintf(stderr, "%s:%d: CHECK failed: %s %s\n", file, line, condition, detail.c_str());
  std::fflush(stderr);
  std::abort();
}

}  // namespace lorry
