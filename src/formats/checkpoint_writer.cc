#include "formats/checkpoint_writer.h"

#include <boost/json/serialize.hpp>
#include <boost/json/string_view.hpp>

#include "base/check.h"
#include "formats/json.h"
#include "formats/tensor_view.h"

namespace lorry::formats {

Result<CheckpointWriter> CheckpointWriter::Create(std::string dir,
                                                  const std::vector<TensorSpec>& tensors,
                                                  CheckpointWriteOptions options) {
  CheckpointWriter writer(std::move(dir), std::move(options));
  RETURN_IF_ERROR(writer.Assign(tensors));
  return writer;
}

Status CheckpointWriter::Assign(const std::vector<TensorSpec>& tensors) {
  shards_.emplace_back();
  uint64_t shard_bytes = 0;
  for (const TensorSpec& tensor : tensors) {
    const std::optional<uint64_t> bytes = ShapeBytes(tensor.shape, tensor.dtype);
    if (!bytes || __builtin_add_overflow(total_bytes_, *bytes, &total_bytes_)) {
      return Fail(ErrorCode::kTooLarge,
                  fmt::format("{}: tensor {} does not fit a file", dir_, Quoted(tensor.name)));
    }
    const uint64_t room =
        options_.max_shard_bytes - std::min(options_.max_shard_bytes, shard_bytes);
    if (*bytes > room && shard_bytes > 0) {
      shards_.emplace_back();
      shard_bytes = 0;
    }
    shard_bytes += *bytes;
    if (!shard_of_.emplace(tensor.name, shards_.size() - 1).second) {
      return Fail(ErrorCode::kInvalidArgument,
                  fmt::format("{}: tensor {} stands there twice", dir_, Quoted(tensor.name)));
    }
    shards_.back().tensors.push_back(tensor);
  }
  if (shards_.size() == 1) {
    shards_[0].file_name = "model.safetensors";
    return {};
  }
  for (size_t i = 0; i < shards_.size(); ++i) {
    shards_[i].file_name = fmt::format("model-{:05}-of-{:05}.safetensors", i + 1, shards_.size());
  }
  return {};
}

Status CheckpointWriter::Open(Shard& shard) {
  CHECK_MSG(!shard.published, "{}/{} has been written", dir_, shard.file_name);
  if (shard.writer) return {};
  ASSIGN_OR_RETURN(SafetensorsWriter writer,
                   SafetensorsWriter::Create(fmt::format("{}/{}", dir_, shard.file_name),
                                             shard.tensors, options_.file));
  shard.writer.emplace(std::move(writer));
  return {};
}

Status CheckpointWriter::Append(std::string_view name, std::span<const std::byte> bytes) {
  if (bytes.empty()) return {};
  const auto found = shard_of_.find(name);
  CHECK_MSG(found != shard_of_.end(), "{}: {} was not declared", dir_, Quoted(name));
  Shard& shard = shards_[found->second];
  RETURN_IF_ERROR(Open(shard));
  RETURN_IF_ERROR(shard.writer->Append(name, bytes));
  return PublishIfComplete(shard);
}

Status CheckpointWriter::PublishIfComplete(Shard& shard) {
  if (!shard.writer->complete()) return {};
  RETURN_IF_ERROR(shard.writer->Finish());
  shard.writer.reset();
  shard.published = true;
  return {};
}

Status CheckpointWriter::Finish() {
  for (Shard& shard : shards_) {
    if (shard.published) continue;
    RETURN_IF_ERROR(Open(shard));  // one whose tensors are all empty
    CHECK_MSG(shard.writer->complete(), "{}/{}: data is missing", dir_, shard.file_name);
    RETURN_IF_ERROR(PublishIfComplete(shard));
  }
  if (shards_.size() == 1) return {};
  const std::string index_path = dir_ + "/model.safetensors.index.json";
  RETURN_IF_ERROR(WriteTextFile(index_path, IndexText(), options_.file.sync));
  return options_.file.sync ? SyncDirectory(dir_) : Status();
}

std::string CheckpointWriter::IndexText() const {
  std::string text = fmt::format(
      "{{\n  \"metadata\": {{\n    \"total_size\": {}\n  }},\n  \"weight_map\": {{", total_bytes_);
  const char* separator = "\n";
  for (const auto& [name, shard_idx] : shard_of_) {
    text += fmt::format("{}    {}: \"{}\"", separator,
                        boost::json::serialize(boost::json::string_view(name.data(), name.size())),
                        shards_[shard_idx].file_name);
    separator = ",\n";
  }
  return text + "\n  }\n}\n";
}

}  // namespace lorry::formats
