// One safetensors file: memory-mapped, its header checked in full before any tensor is handed out.
// Owns: the mapping; views live as long as it. Thread: any, read-only. Never: trusts a size or an
// offset of the header.
//
// Layout: u64 header length (little-endian), JSON header, then the data, which the tensors cover
// without hole or overlap.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "formats/mapped_file.h"
#include "formats/tensor_view.h"

namespace lorry::formats {

constexpr uint64_t kMaxSafetensorsHeaderBytes =
    100'000'000;  // the reference implementation's limit

class SafetensorsFile {
 public:
  static Result<SafetensorsFile> Open(const std::string& path);
  // The same of a copy in memory (MappedFile::Read).
  static Result<SafetensorsFile> Read(const std::string& path);

  // Sorted by name.
  const std::vector<TensorView>& tensors() const { return tensors_; }
  // nullptr if there is none.
  const TensorView* Find(std::string_view name) const;
  // `__metadata__`, as written.
  const std::map<std::string, std::string>& metadata() const { return metadata_; }
  const MappedFile& file() const { return file_; }

 private:
  explicit SafetensorsFile(MappedFile file) : file_(std::move(file)) {}
  static Result<SafetensorsFile> Parse(Result<MappedFile> file);
  Status ParseHeader();

  MappedFile file_;
  std::vector<TensorView> tensors_;
  std::map<std::string, std::string> metadata_;
};

}  // namespace lorry::formats
