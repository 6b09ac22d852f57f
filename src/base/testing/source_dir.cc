#include "base/testing/source_dir.h"

namespace lorry {

std::string SourcePath(std::string_view name) {
  return std::string(LORRY_SOURCE_DIR "/").append(name);
}

}  // namespace lorry
