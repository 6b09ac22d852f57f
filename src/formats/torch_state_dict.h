// What the pickle of a state dict may name, and the tensors that come of it.
// Owns: what was read of the pickle. Thread: one at a time. Never: touches a tensor's data; that
// comes from the container, form by form (torch_file.cc).
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "device/dtype.h"
#include "formats/pickle_reader.h"

namespace lorry::formats {

// Memory that tensors view, so far only promised.
struct TorchStorage {
  std::string_view key;  // its name in the container
  DType dtype = DType::kF32;
  uint64_t num_elements = 0;

  uint64_t num_bytes() const { return num_elements * DTypeBytes(dtype); }
};

// A tensor whose every element was checked to lie in its storage.
struct StoredTensor {
  size_t storage_idx = 0;
  uint64_t offset = 0;  // in elements, as the strides
  std::vector<int64_t> shape;
  std::vector<int64_t> strides;
};

class TorchStateDict : public PickleEnvironment {
 public:
  // Reads one pickle that is a dict of names and tensors; gives back how long it is.
  Result<size_t> Read(std::span<const std::byte> pickle);

  const std::vector<TorchStorage>& storages() const { return storages_; }
  // By key.
  std::optional<size_t> FindStorage(std::string_view key) const;
  // In the dict's order, no name twice.
  const std::vector<std::pair<std::string, StoredTensor>>& tensors() const { return named_; }

  Result<PickleValue> FindGlobal(std::string_view module, std::string_view name) override;
  Result<PickleValue> Call(const PickleValue& callable, std::span<const PickleValue> arguments,
                           PickleHeap& heap) override;
  Result<PickleValue> LoadPersistent(const PickleValue& id, const PickleHeap& heap) override;

 private:
  Result<PickleValue> RebuildTensor(std::span<const PickleValue> arguments, const PickleHeap& heap);
  Result<PickleValue> RebuildParameter(std::span<const PickleValue> arguments,
                                       const PickleHeap& heap);
  Status CheckInside(const StoredTensor& tensor) const;

  std::vector<TorchStorage> storages_;
  std::map<std::string_view, size_t> storage_by_key_;
  std::vector<StoredTensor> tensors_;
  std::vector<std::pair<std::string, StoredTensor>> named_;
};

}  // namespace lorry::formats
