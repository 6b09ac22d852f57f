// Writes the weights of a Hugging Face model directory: model.safetensors, or, above a size,
// model-00001-of-0000N.safetensors with model.safetensors.index.json.
// Owns: the partial files. Thread: one at a time. Never: holds data; a directory without all its
// shards has no index and is no checkpoint.
//
// Write into a directory of its own: what stood there before under other names stays.
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
#include "formats/safetensors_writer.h"

namespace lorry::formats {

struct CheckpointWriteOptions {
  // Of the data in one shard; a tensor that is larger has a shard to itself. The Hub's default.
  uint64_t max_shard_bytes = 5'000'000'000;
  SafetensorsWriteOptions file;
};

class CheckpointWriter {
 public:
  // Shards are filled in the order in which the tensors are declared. `dir` must exist.
  static Result<CheckpointWriter> Create(std::string dir, const std::vector<TensorSpec>& tensors,
                                         CheckpointWriteOptions options = {});

  // As SafetensorsWriter's. A shard takes its place as soon as it is complete, so in the order of
  // declaration one file is open at a time.
  Status Append(std::string_view name, std::span<const std::byte> bytes);

  // The index, last. Every tensor must be complete.
  Status Finish();

  size_t num_shards() const { return shards_.size(); }

 private:
  struct Shard {
    std::string file_name;
    std::vector<TensorSpec> tensors;
    std::optional<SafetensorsWriter> writer;  // while it is being written
    bool published = false;
  };

  CheckpointWriter(std::string dir, CheckpointWriteOptions options)
      : dir_(std::move(dir)), options_(std::move(options)) {}
  Status Assign(const std::vector<TensorSpec>& tensors);
  Status Open(Shard& shard);
  Status PublishIfComplete(Shard& shard);
  std::string IndexText() const;

  std::string dir_;
  CheckpointWriteOptions options_;
  std::vector<Shard> shards_;
  std::map<std::string, size_t, std::less<>> shard_of_;  // tensor -> index in shards_
  uint64_t total_bytes_ = 0;
};

}  // namespace lorry::formats
