#include "formats/safetensors_writer.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <boost/json/serialize.hpp>
#include <boost/json/string_view.hpp>
#include <cstring>
#include <filesystem>

#include "base/check.h"
#include "formats/json.h"
#include "formats/safetensors.h"
#include "formats/tensor_view.h"

namespace lorry::formats {
namespace {

constexpr size_t kAlignmentBytes = 8;
constexpr char kMetadataKey[] = "__metadata__";

std::string JsonText(std::string_view text) {
  return boost::json::serialize(boost::json::string_view(text.data(), text.size()));
}

// A tensor and where its data goes.
struct Placed {
  const TensorSpec* tensor;
  uint64_t begin;  // after the header
  uint64_t end;
};

Result<std::vector<Placed>> Place(const std::vector<TensorSpec>& tensors, const std::string& path) {
  std::vector<Placed> placed;
  placed.reserve(tensors.size());
  for (const TensorSpec& tensor : tensors) placed.push_back({&tensor, 0, 0});
  std::sort(placed.begin(), placed.end(), [](const Placed& a, const Placed& b) {
    const size_t a_bytes = DTypeBytes(a.tensor->dtype), b_bytes = DTypeBytes(b.tensor->dtype);
    return a_bytes != b_bytes ? a_bytes > b_bytes : a.tensor->name < b.tensor->name;
  });
  uint64_t end = 0;
  for (Placed& entry : placed) {
    const TensorSpec& tensor = *entry.tensor;
    if (tensor.name == kMetadataKey) {
      return Fail(ErrorCode::kInvalidArgument,
                  fmt::format("{}: a tensor cannot be named {}", path, kMetadataKey));
    }
    CHECK(std::all_of(tensor.shape.begin(), tensor.shape.end(), [](int64_t d) { return d >= 0; }));
    const std::optional<uint64_t> bytes = ShapeBytes(tensor.shape, tensor.dtype);
    entry.begin = end;
    if (!bytes || __builtin_add_overflow(entry.begin, *bytes, &end) || end > INT64_MAX) {
      return Fail(ErrorCode::kTooLarge,
                  fmt::format("{}: tensor {}: [{}] does not fit a file", path, Quoted(tensor.name),
                              fmt::join(tensor.shape, ", ")));
    }
    entry.end = end;
  }
  return placed;
}

std::string HeaderText(const std::vector<Placed>& placed,
                       const std::map<std::string, std::string>& metadata) {
  std::string text = "{";
  if (!metadata.empty()) {
    text += fmt::format("\"{}\":{{", kMetadataKey);
    for (const auto& [key, value] : metadata) {
      text += fmt::format("{}:{},", JsonText(key), JsonText(value));
    }
    text.back() = '}';
    text += ',';
  }
  for (const Placed& entry : placed) {
    text += fmt::format(R"({}:{{"dtype":"{}","shape":[{}],"data_offsets":[{},{}]}},)",
                        JsonText(entry.tensor->name), DTypeName(entry.tensor->dtype),
                        fmt::join(entry.tensor->shape, ","), entry.begin, entry.end);
  }
  if (text.back() == ',') text.pop_back();
  text += '}';
  const size_t padding = (kAlignmentBytes - text.size() % kAlignmentBytes) % kAlignmentBytes;
  return text.append(padding, ' ');
}

// What no reader takes is not written: names that are not UTF-8, or stand there twice.
Status CheckHeader(std::string_view text, const std::string& path) {
  const JsonLimits limits{
      .max_bytes = kMaxSafetensorsHeaderBytes, .max_depth = 3, .refuse_duplicate_keys = true};
  const auto parsed = ParseJsonObject(text, path + ": header", limits);
  if (!parsed) return Fail(parsed.error().code, parsed.error().message);
  return {};
}

}  // namespace

Result<SafetensorsWriter> SafetensorsWriter::Create(std::string path,
                                                    const std::vector<TensorSpec>& tensors,
                                                    SafetensorsWriteOptions options) {
  ASSIGN_OR_RETURN(const std::vector<Placed> placed, Place(tensors, path));
  const std::string header = HeaderText(placed, options.metadata);
  RETURN_IF_ERROR(CheckHeader(header, path));

  const uint64_t header_bytes = header.size();
  const uint64_t data_begin = sizeof(header_bytes) + header_bytes;
  ASSIGN_OR_RETURN(OutputFile file, OutputFile::Create(std::move(path)));
  SafetensorsWriter writer(std::move(file), options.sync);
  for (const Placed& entry : placed) {
    const uint64_t bytes = entry.end - entry.begin;
    writer.gaps_.emplace(entry.tensor->name, Gap{data_begin + entry.begin, bytes});
    writer.missing_bytes_ += bytes;
  }
  RETURN_IF_ERROR(writer.file_.Reserve(data_begin + writer.missing_bytes_));
  RETURN_IF_ERROR(writer.file_.WriteAt(0, std::as_bytes(std::span(&header_bytes, 1))));
  RETURN_IF_ERROR(writer.file_.WriteAt(sizeof(header_bytes), std::as_bytes(std::span(header))));
  return writer;
}

Status SafetensorsWriter::Append(std::string_view name, std::span<const std::byte> bytes) {
  const auto found = gaps_.find(name);
  CHECK_MSG(found != gaps_.end(), "{}: {} was not declared", file_.path(), Quoted(name));
  Gap& gap = found->second;
  CHECK_MSG(bytes.size() <= gap.missing_bytes, "{}: {}: {} bytes, {} are missing", file_.path(),
            Quoted(name), bytes.size(), gap.missing_bytes);
  RETURN_IF_ERROR(file_.WriteAt(gap.offset, bytes));
  gap.offset += bytes.size();
  gap.missing_bytes -= bytes.size();
  missing_bytes_ -= bytes.size();
  return {};
}

Status SafetensorsWriter::Finish() {
  CHECK_MSG(complete(), "{}: {} bytes are missing", file_.path(), missing_bytes_);
  if (!sync_) return file_.Publish();
  RETURN_IF_ERROR(file_.Sync());
  RETURN_IF_ERROR(file_.Publish());
  const std::filesystem::path dir = std::filesystem::path(file_.path()).parent_path();
  return SyncDirectory(dir.empty() ? "." : dir.string());
}

}  // namespace lorry::formats
