// One safetensors file: its header, checked in full before any tensor is handed out, and what it
// holds.
// Owns: the header; of a SafetensorsFile all bytes, and views live as long as it.
// Thread: any, read-only.
// Never: trusts a size or an offset of the header, or reads data before the header is right.
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
#include "formats/file_bytes.h"
#include "formats/tensor_view.h"

namespace lorry::formats {

constexpr uint64_t kMaxSafetensorsHeaderBytes =
    100'000'000;  // the reference implementation's limit

// What the header says of a tensor.
struct TensorEntry {
  std::string name;
  DType dtype = DType::kF32;
  std::vector<int64_t> shape;  // empty: a scalar
  uint64_t offset = 0;         // in the file
  uint64_t num_bytes = 0;

  int64_t num_elements() const;
  // "F32 [512, 64]"
  std::string Describe() const;
};

class SafetensorsHeader {
 public:
  // Reads the header alone. The tensors must lie in the file as long as it is now.
  static Result<SafetensorsHeader> Read(const OpenedFile& file, const std::string& path,
                                        uint64_t max_bytes = kMaxSafetensorsHeaderBytes);
  static Result<SafetensorsHeader> Read(const std::string& path,
                                        uint64_t max_bytes = kMaxSafetensorsHeaderBytes);
  // The same of a file of which only the beginning is there yet; it is to have `file_bytes`.
  static Result<SafetensorsHeader> ReadBeginning(const OpenedFile& file, const std::string& path,
                                                 uint64_t file_bytes, uint64_t max_bytes);

  // Sorted by name.
  const std::vector<TensorEntry>& tensors() const { return tensors_; }
  // nullptr if there is none.
  const TensorEntry* Find(std::string_view name) const;
  // `__metadata__`, as written.
  const std::map<std::string, std::string>& metadata() const { return metadata_; }
  // Everything but the tensors' values: views without bytes.
  std::vector<TensorView> Outlines() const;

 private:
  friend class SafetensorsFile;
  Status Parse(uint64_t file_bytes, const std::string& path);

  std::string text_;
  std::vector<TensorEntry> tensors_;
  std::map<std::string, std::string> metadata_;
};

class SafetensorsFile {
 public:
  static Result<SafetensorsFile> Read(const std::string& path);
  // What belongs to a header that was read of the same file before. kDataLoss if it has another by
  // now.
  static Result<SafetensorsFile> Read(const OpenedFile& file, const std::string& path,
                                      SafetensorsHeader header);

  // Sorted by name.
  const std::vector<TensorView>& tensors() const { return tensors_; }
  // nullptr if there is none.
  const TensorView* Find(std::string_view name) const;
  const std::map<std::string, std::string>& metadata() const { return metadata_; }
  const FileBytes& file() const { return file_; }

 private:
  explicit SafetensorsFile(FileBytes file) : file_(std::move(file)) {}

  FileBytes file_;
  std::vector<TensorView> tensors_;
  std::map<std::string, std::string> metadata_;
};

}  // namespace lorry::formats
