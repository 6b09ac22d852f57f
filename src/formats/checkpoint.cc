#include "formats/checkpoint.h"

#include <fmt/ranges.h>
#include <sys/stat.h>

#include <algorithm>
#include <map>

#include "base/check.h"
#include "formats/json.h"

namespace lorry::formats {
namespace {

constexpr char kSingleFile[] = "model.safetensors";
constexpr char kIndexFile[] = "model.safetensors.index.json";
constexpr char kPickleFile[] = "pytorch_model.bin";
constexpr char kPickleIndexFile[] = "pytorch_model.bin.index.json";
constexpr size_t kMaxShards = 4096;

bool Exists(const std::string& dir, const char* name) {
  struct stat status;
  return ::stat(fmt::format("{}/{}", dir, name).c_str(), &status) == 0;
}

// A shard is named, never pathed: whatever the index says, only files of the directory itself are
// opened.
bool IsPlainFileName(std::string_view name) {
  return !name.empty() && name != "." && name != ".." &&
         name.find_first_of(std::string_view("/\\\0", 3)) == std::string_view::npos;
}

// Shard file -> names of its tensors.
using ShardMap = std::map<std::string, std::vector<std::string>>;

Result<ShardMap> ReadIndex(const std::string& path) {
  ASSIGN_OR_RETURN(const boost::json::object index, ReadJsonObject(path));
  const JsonFields fields(index, path);
  const boost::json::value* weight_map = fields.Find("weight_map");
  if (weight_map == nullptr || !weight_map->is_object()) {
    return fields.FieldError("weight_map", "must be an object of tensor names and files");
  }
  ShardMap shards;
  for (const boost::json::key_value_pair& entry : weight_map->get_object()) {
    const std::string tensor(entry.key().data(), entry.key().size());
    Result<std::string> file = FromJson<std::string>(entry.value());
    if (!file) return fields.FieldError("weight_map", Quoted(tensor) + ": " + file.error().message);
    if (!IsPlainFileName(*file)) {
      return fields.FieldError("weight_map",
                               fmt::format("{}: {} is not the name of a file of this directory",
                                           Quoted(tensor), Quoted(*file)),
                               ErrorCode::kPermission);
    }
    shards[*file].push_back(tensor);
  }
  if (shards.empty()) return fields.FieldError("weight_map", "is empty");
  if (shards.size() > kMaxShards) {
    return fields.FieldError(
        "weight_map", fmt::format("names {} files, the limit is {}", shards.size(), kMaxShards),
        ErrorCode::kTooLarge);
  }
  return shards;
}

}  // namespace

Result<Checkpoint> Checkpoint::Open(const std::string& model_dir) {
  Checkpoint checkpoint;
  checkpoint.model_dir_ = model_dir;
  if (Exists(model_dir, kSingleFile)) {
    RETURN_IF_ERROR(checkpoint.AddShard(fmt::format("{}/{}", model_dir, kSingleFile)));
  } else if (Exists(model_dir, kIndexFile)) {
    RETURN_IF_ERROR(checkpoint.AddIndexed(model_dir));
  } else if (Exists(model_dir, kPickleFile) || Exists(model_dir, kPickleIndexFile)) {
    return Fail(ErrorCode::kUnsupported,
                fmt::format("{}: only {} is there, which can run code when read; save the model as "
                            "safetensors (save_pretrained of transformers does)",
                            model_dir, kPickleFile));
  } else {
    return Fail(ErrorCode::kNotFound,
                fmt::format("{}: neither {} nor {} is there", model_dir, kSingleFile, kIndexFile));
  }
  return checkpoint;
}

Status Checkpoint::AddShard(const std::string& path) {
  ASSIGN_OR_RETURN(OpenedFile file, OpenRegular(path));
  ASSIGN_OR_RETURN(SafetensorsHeader header, SafetensorsHeader::Read(file, path));
  WarnOfHoles(file, path);
  shards_.push_back({path, std::move(file), std::move(header)});
  for (const TensorEntry& tensor : shards_.back().header.tensors()) {
    const auto [existing, added] = tensors_.try_emplace(tensor.name, shards_.size() - 1, &tensor);
    if (!added) {
      return Fail(ErrorCode::kDataLoss,
                  fmt::format("{}: tensor {} is also in {}", path, Quoted(tensor.name),
                              shards_[existing->second.shard_idx].path));
    }
    total_bytes_ += tensor.num_bytes;
  }
  return {};
}

Status Checkpoint::AddIndexed(const std::string& model_dir) {
  const std::string index_path = fmt::format("{}/{}", model_dir, kIndexFile);
  ASSIGN_OR_RETURN(const ShardMap shards, ReadIndex(index_path));
  for (const auto& [file, names] : shards) {
    RETURN_IF_ERROR(AddShard(fmt::format("{}/{}", model_dir, file)));
    for (const std::string& name : names) {
      if (shards_.back().header.Find(name) == nullptr) {
        return Fail(ErrorCode::kDataLoss, fmt::format("{}: tensor {} is not in {}", index_path,
                                                      Quoted(name), Quoted(file)));
      }
    }
  }
  return {};
}

const Checkpoint::Entry* Checkpoint::Find(std::string_view name) const {
  const auto found = tensors_.find(std::string(name));
  return found == tensors_.end() ? nullptr : &found->second;
}

Result<TensorEntry> Checkpoint::Get(std::string_view name) const {
  const Entry* entry = Find(name);
  if (entry == nullptr) {
    return Fail(ErrorCode::kNotFound,
                fmt::format("{}: the weights have no tensor {}", model_dir_, Quoted(name)));
  }
  return *entry->tensor;
}

std::optional<std::string> Checkpoint::WeightProblem(std::string_view name,
                                                     const std::vector<int64_t>& shape) const {
  const Entry* entry = Find(name);
  if (entry == nullptr) return fmt::format("tensor {} is missing", Quoted(name));
  const TensorEntry& tensor = *entry->tensor;
  if (IsFloatWeight(tensor.dtype) && tensor.shape == shape) return std::nullopt;
  return fmt::format("tensor {} is {}, config.json needs F64, F32, BF16 or F16 [{}]", Quoted(name),
                     tensor.Describe(), fmt::join(shape, ", "));
}

Result<TensorEntry> Checkpoint::GetWeight(std::string_view name,
                                          const std::vector<int64_t>& shape) const {
  ASSIGN_OR_RETURN(TensorEntry tensor, Get(name));
  if (const auto problem = WeightProblem(name, shape)) {
    return Fail(ErrorCode::kUnfit, fmt::format("{}: {}", model_dir_, *problem));
  }
  return tensor;
}

std::vector<std::string> Checkpoint::TensorNames() const {
  std::vector<std::string> names;
  names.reserve(tensors_.size());
  for (const auto& [name, entry] : tensors_) names.push_back(name);
  std::sort(names.begin(), names.end());
  return names;
}

Result<TensorView> Checkpoint::Read(const TensorEntry& tensor, int64_t first, int64_t count,
                                    std::vector<std::byte>& buffer) const {
  const Entry* entry = Find(tensor.name);
  CHECK(entry != nullptr && first >= 0 && count >= 0 && first + count <= tensor.num_elements());
  const Shard& shard = shards_[entry->shard_idx];
  const size_t element_bytes = DTypeBytes(tensor.dtype);
  buffer.resize(static_cast<size_t>(count) * element_bytes);
  const uint64_t offset = tensor.offset + static_cast<uint64_t>(first) * element_bytes;
  ASSIGN_OR_RETURN(const size_t num_read, ReadAt(shard.file.fd, shard.path, offset, buffer));
  RETURN_IF_ERROR(CheckUnchanged(shard.file, shard.path));
  if (num_read < buffer.size()) {
    return Fail(ErrorCode::kDataLoss,
                fmt::format("{}: ends within tensor {}", shard.path, Quoted(tensor.name)));
  }
  return TensorView{.name = tensor.name, .dtype = tensor.dtype, .shape = {count}, .bytes = buffer};
}

Result<std::vector<float>> Checkpoint::ReadF32(const TensorEntry& tensor) const {
  std::vector<std::byte> buffer;
  ASSIGN_OR_RETURN(const TensorView all, Read(tensor, 0, tensor.num_elements(), buffer));
  std::vector<float> values(buffer.size() / DTypeBytes(tensor.dtype));
  ConvertToF32(all, values);
  return values;
}

}  // namespace lorry::formats
