// The weights of a Hugging Face model directory: model.safetensors, or the shards that
// model.safetensors.index.json lists.
// Owns: the open files, so that one that takes a shard's name changes nothing.
// Thread: any, read-only.
// Never: opens a file outside the directory's own listing of names, maps one, or gives out bytes
// that were written after it was opened.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "base/result.h"
#include "formats/safetensors.h"

namespace lorry::formats {

class Checkpoint {
 public:
  static Result<Checkpoint> Open(const std::string& model_dir);

  bool Has(std::string_view name) const { return Find(name) != nullptr; }
  // An error that names the directory and the tensor if it is absent.
  Result<TensorEntry> Get(std::string_view name) const;
  // What keeps a tensor from being a float weight of this shape: it is missing, misshapen or of
  // another type. nullopt: nothing.
  std::optional<std::string> WeightProblem(std::string_view name,
                                           const std::vector<int64_t>& shape) const;
  // The tensor, which has no such problem.
  Result<TensorEntry> GetWeight(std::string_view name, const std::vector<int64_t>& shape) const;
  // Elements [first, first + count) of a tensor of this checkpoint, read into `buffer`, as a
  // vector. kDataLoss if its file was written to since it was opened.
  Result<TensorView> Read(const TensorEntry& tensor, int64_t first, int64_t count,
                          std::vector<std::byte>& buffer) const;
  // All of a float weight.
  Result<std::vector<float>> ReadF32(const TensorEntry& tensor) const;
  // Names of all tensors, sorted.
  std::vector<std::string> TensorNames() const;

  size_t num_tensors() const { return tensors_.size(); }
  size_t num_shards() const { return shards_.size(); }
  size_t total_bytes() const { return total_bytes_; }

 private:
  struct Shard {
    std::string path;
    OpenedFile file;
    SafetensorsHeader header;
  };
  struct Entry {
    size_t shard_idx;
    const TensorEntry* tensor;  // inside shards_[shard_idx]; stays where it is when shards_ grows
  };

  const Entry* Find(std::string_view name) const;
  Status AddShard(const std::string& path);
  Status AddIndexed(const std::string& model_dir);

  std::string model_dir_;
  std::vector<Shard> shards_;
  std::unordered_map<std::string, Entry> tensors_;
  size_t total_bytes_ = 0;
};

}  // namespace lorry::formats
