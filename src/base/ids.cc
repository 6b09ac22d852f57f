#include "base/ids.h"

#include <fmt/core.h>

namespace lorry {

std::string AdapterId::Hex() const {
  std::string hex;
  for (uint8_t byte : bytes) hex += fmt::format("{:02x}", byte);
  return hex;
}

}  // namespace lorry
