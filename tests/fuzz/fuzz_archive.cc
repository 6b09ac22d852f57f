// Any bytes as an archive: an error that leaves nothing behind, or a directory with an adapter's
// files and no others.
#include <cstdlib>
#include <filesystem>
#include <string>

#include "formats/adapter_files.h"
#include "formats/archive.h"
#include "input_file.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  namespace fs = std::filesystem;
  namespace formats = lorry::formats;
  static const fs::path dir = [] {
    std::string pattern = (fs::temp_directory_path() / "fuzz_archive_XXXXXX").string();
    if (mkdtemp(pattern.data()) == nullptr) std::abort();
    return pattern;
  }();
  const lorry::fuzz::InputFile input(data, size);
  const auto adapter =
      formats::ExtractArchive(input.path(), (dir / "target").string(),
                              {.limits = {.max_bytes = 1 << 20, .max_entries = 100}});
  if (adapter) {
    for (const auto& entry : fs::recursive_directory_iterator(dir / "target")) {
      if (entry.is_directory() && !entry.is_symlink()) continue;
      if (!entry.is_regular_file() || entry.is_symlink()) std::abort();
      if (!formats::IsAdapterFile(entry.path().lexically_relative(dir / "target").string())) {
        std::abort();
      }
    }
    fs::remove_all(dir / "target");
  }
  if (!fs::is_empty(dir)) std::abort();
  return 0;
}
