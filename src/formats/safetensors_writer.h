// Writes one safetensors file: the tensors are declared first, their data streams in afterwards.
// Owns: the partial file. Thread: one at a time. Never: holds a tensor's data, or shows a file that
// is not whole.
//
// The same tensors and metadata give the same bytes, in whatever order they are declared and
// written: data lies by element size, large first, then by name (so every tensor is aligned to its
// elements), and the header is padded to 8 bytes, both as the reference implementation does it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "device/dtype.h"
#include "formats/output_file.h"

namespace lorry::formats {

// A tensor to be written.
struct TensorSpec {
  std::string name;
  DType dtype = DType::kF32;
  std::vector<int64_t> shape;  // empty: a scalar
};

struct SafetensorsWriteOptions {
  // `__metadata__`; Python's readers expect to find the framework here.
  std::map<std::string, std::string> metadata = {{"format", "pt"}};
  // The file outlasts a loss of power as soon as Finish returns. A crash of the process needs no
  // such care.
  bool sync = false;
};

class SafetensorsWriter {
 public:
  // Refuses names that stand there twice or that no reader would take, before anything is written.
  static Result<SafetensorsWriter> Create(std::string path, const std::vector<TensorSpec>& tensors,
                                          SafetensorsWriteOptions options = {});

  // The next bytes of a tensor, row-major and little-endian. Tensors may come in any order, pieces
  // of several in turn. An unknown name or more bytes than the shape takes is our own bug.
  Status Append(std::string_view name, std::span<const std::byte> bytes);

  // True once every byte has come.
  bool complete() const { return missing_bytes_ == 0; }

  // Puts the file, which must be complete, under its name. The writer is spent.
  Status Finish();

 private:
  struct Gap {
    uint64_t offset;  // in the file, of the next byte
    uint64_t missing_bytes;
  };

  SafetensorsWriter(OutputFile file, bool sync) : file_(std::move(file)), sync_(sync) {}

  OutputFile file_;
  bool sync_;
  std::map<std::string, Gap, std::less<>> gaps_;  // by name
  uint64_t missing_bytes_ = 0;
};

}  // namespace lorry::formats
