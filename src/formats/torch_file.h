// A file of torch.save that holds a state dict (adapter_model.bin), read without running anything.
// Owns: the file's bytes; tensors live as long as it.
// Thread: any, read-only.
// Never: executes, imports
// or constructs what the file names: of a pickle only what state dicts are made of is understood
// (pickle_reader.h), and everything else is refused by its name.
//
// Both forms of torch.save are read: the zip (`<name>/data.pkl`, `<name>/data/<key>`) and the one
// before torch 1.6. Tensors keep the type that they were saved in; f64 and integers are carried
// over, whether they fit is for the reader of the safetensors file to say.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "base/result.h"
#include "device/dtype.h"
#include "formats/file_bytes.h"

namespace lorry::formats {

// A tensor as torch keeps it: a view of a storage, which several may share.
struct TorchTensor {
  std::string name;
  DType dtype = DType::kF32;
  std::vector<int64_t> shape;    // empty: a scalar
  std::vector<int64_t> strides;  // in elements, never negative; as many as dimensions
  // From its first element to the end of its storage; every element lies inside. Little-endian,
  // maybe unaligned.
  std::span<const std::byte> bytes;

  uint64_t num_bytes() const;  // of its elements
  bool contiguous() const;     // its elements lie row-major, without gaps
};

struct TorchFileLimits {
  // All tensors together, each in full.
  uint64_t max_bytes = uint64_t{16} << 30;
  // The same over the file's size, beyond the first 64 MiB: views may repeat a storage.
  uint64_t max_ratio = 8;
};

class TorchFile {
 public:
  static Result<TorchFile> Open(const std::string& path, const TorchFileLimits& limits = {});

  // In the order of the state dict.
  const std::vector<TorchTensor>& tensors() const { return tensors_; }

 private:
  TorchFile(FileBytes file, std::vector<TorchTensor> tensors)
      : file_(std::move(file)), tensors_(std::move(tensors)) {}

  FileBytes file_;
  std::vector<TorchTensor> tensors_;
};

// The tensor's elements row-major, in pieces of a bounded size; stops at the sink's first error.
Status ForEachPiece(const TorchTensor& tensor,
                    const std::function<Status(std::span<const std::byte>)>& sink);

// The same tensors as a safetensors file, which appears whole or not at all.
Status ConvertTorchFile(const std::string& torch_path, const std::string& safetensors_path,
                        const TorchFileLimits& limits = {});

}  // namespace lorry::formats
