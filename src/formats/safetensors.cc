#include "formats/safetensors.h"

#include <algorithm>
#include <boost/json/array.hpp>
#include <cstring>
#include <optional>

#include "formats/json.h"

namespace lorry::formats {
namespace {

namespace json = boost::json;

constexpr size_t kLengthBytes = 8;

std::optional<DType> ParseDType(std::string_view name) {
  for (DType dtype :
       {DType::kF32, DType::kBF16, DType::kF16, DType::kI64, DType::kI32, DType::kI16, DType::kI8,
        DType::kU8, DType::kBool, DType::kF64, DType::kF8E4M3, DType::kF8E5M2}) {
    if (name == DTypeName(dtype)) return dtype;
  }
  return std::nullopt;
}

Result<std::vector<int64_t>> NonNegative(const JsonFields& fields, std::string_view key) {
  ASSIGN_OR_RETURN(std::vector<int64_t> values, fields.Required<std::vector<int64_t>>(key));
  for (int64_t value : values) {
    if (value < 0) return fields.FieldError(key, "has a negative entry", ErrorCode::kDataLoss);
  }
  return values;
}

// One entry of the header; `data` is everything after it.
Result<TensorView> ParseTensor(const json::key_value_pair& entry, const std::string& path,
                               std::span<const std::byte> data) {
  const std::string_view name(entry.key().data(), entry.key().size());
  const std::string where = fmt::format("{}: tensor {}", path, Quoted(name));
  if (!entry.value().is_object()) {
    return Fail(ErrorCode::kDataLoss,
                fmt::format("{}: must be an object, is {}", where, JsonKindName(entry.value())));
  }
  const JsonFields fields(entry.value().get_object(), where);
  ASSIGN_OR_RETURN(const std::string dtype_name, fields.Required<std::string>("dtype"));
  const std::optional<DType> dtype = ParseDType(dtype_name);
  if (!dtype) {
    return fields.FieldError("dtype", fmt::format("{} is not supported", Quoted(dtype_name)),
                             ErrorCode::kUnsupported);
  }
  ASSIGN_OR_RETURN(std::vector<int64_t> shape, NonNegative(fields, "shape"));
  ASSIGN_OR_RETURN(const std::vector<int64_t> offsets, NonNegative(fields, "data_offsets"));
  if (offsets.size() != 2 || offsets[0] > offsets[1]) {
    return fields.FieldError("data_offsets", "must be [begin, end]", ErrorCode::kDataLoss);
  }
  if (static_cast<uint64_t>(offsets[1]) > data.size()) {
    return fields.FieldError(
        "data_offsets",
        fmt::format("ends at {}, the file holds {} bytes of data", offsets[1], data.size()),
        ErrorCode::kDataLoss);
  }
  const uint64_t stored_bytes = static_cast<uint64_t>(offsets[1] - offsets[0]);
  if (ShapeBytes(shape, *dtype) != stored_bytes) {
    return fields.FieldError("shape",
                             fmt::format("does not fit the {} bytes of its data", stored_bytes),
                             ErrorCode::kDataLoss);
  }
  return TensorView{std::string(name), *dtype, std::move(shape),
                    data.subspan(static_cast<size_t>(offsets[0]), stored_bytes)};
}

Result<std::map<std::string, std::string>> ParseMetadata(const json::value& value,
                                                         const std::string& path) {
  if (!value.is_object()) {
    return Fail(ErrorCode::kDataLoss, fmt::format("{}: \"__metadata__\" must be an object, is {}",
                                                  path, JsonKindName(value)));
  }
  std::map<std::string, std::string> metadata;
  for (const json::key_value_pair& entry : value.get_object()) {
    Result<std::string> text = FromJson<std::string>(entry.value());
    if (!text) {
      return Annotate(std::move(text.error()), fmt::format("{}: \"__metadata__\"", path));
    }
    metadata.emplace(std::string(entry.key().data(), entry.key().size()), std::move(*text));
  }
  return metadata;
}

// In the order of their data the tensors must follow each other without hole or overlap and fill
// it.
Status CheckCoverage(std::vector<TensorView>& tensors, const std::string& path,
                     std::span<const std::byte> data) {
  std::sort(tensors.begin(), tensors.end(), [](const TensorView& a, const TensorView& b) {
    return std::pair(a.bytes.data(), a.bytes.size()) < std::pair(b.bytes.data(), b.bytes.size());
  });
  const std::byte* covered = data.data();
  for (const TensorView& tensor : tensors) {
    if (tensor.bytes.data() != covered) {
      return Fail(ErrorCode::kDataLoss,
                  fmt::format("{}: tensor {} begins at {}, the data before it ends at {}", path,
                              Quoted(tensor.name), tensor.bytes.data() - data.data(),
                              covered - data.data()));
    }
    covered += tensor.bytes.size();
  }
  if (covered != data.data() + data.size()) {
    return Fail(ErrorCode::kDataLoss, fmt::format("{}: {} bytes of data, the tensors cover {}",
                                                  path, data.size(), covered - data.data()));
  }
  return {};
}

// The header's text, after checking that the file holds all of it.
Result<std::string_view> HeaderText(std::span<const std::byte> bytes, const std::string& path) {
  if (bytes.size() < kLengthBytes) {
    return Fail(ErrorCode::kDataLoss,
                fmt::format("{}: {} bytes, too short for a header", path, bytes.size()));
  }
  uint64_t header_bytes;
  std::memcpy(&header_bytes, bytes.data(), kLengthBytes);
  if (header_bytes > kMaxSafetensorsHeaderBytes) {
    return Fail(ErrorCode::kTooLarge, fmt::format("{}: a header of {} bytes, the limit is {}", path,
                                                  header_bytes, kMaxSafetensorsHeaderBytes));
  }
  if (header_bytes > bytes.size() - kLengthBytes) {
    return Fail(ErrorCode::kDataLoss, fmt::format("{}: the header is truncated: {} of {} bytes",
                                                  path, bytes.size() - kLengthBytes, header_bytes));
  }
  return std::string_view(reinterpret_cast<const char*>(bytes.data()) + kLengthBytes, header_bytes);
}

}  // namespace

Result<SafetensorsFile> SafetensorsFile::Open(const std::string& path) {
  return Parse(MappedFile::Open(path));
}

Result<SafetensorsFile> SafetensorsFile::Read(const std::string& path) {
  return Parse(MappedFile::Read(path));
}

Result<SafetensorsFile> SafetensorsFile::Parse(Result<MappedFile> file) {
  if (!file) return tl::unexpected(std::move(file.error()));
  SafetensorsFile result(std::move(*file));
  RETURN_IF_ERROR(result.ParseHeader());
  return result;
}

Status SafetensorsFile::ParseHeader() {
  const std::string& path = file_.path();
  ASSIGN_OR_RETURN(const std::string_view text, HeaderText(file_.bytes(), path));
  if (!text.starts_with('{')) {
    return Fail(ErrorCode::kDataLoss, fmt::format("{}: the header does not begin with '{{'", path));
  }
  const JsonLimits limits{
      .max_bytes = kMaxSafetensorsHeaderBytes, .max_depth = 3, .refuse_duplicate_keys = true};
  ASSIGN_OR_RETURN(const json::object header, ParseJsonObject(text, path + ": header", limits));
  const std::span<const std::byte> data = file_.bytes().subspan(kLengthBytes + text.size());
  tensors_.reserve(header.size());
  for (const json::key_value_pair& entry : header) {
    if (entry.key() == "__metadata__") {
      ASSIGN_OR_RETURN(metadata_, ParseMetadata(entry.value(), path));
    } else {
      ASSIGN_OR_RETURN(TensorView tensor, ParseTensor(entry, path, data));
      tensors_.push_back(std::move(tensor));
    }
  }
  RETURN_IF_ERROR(CheckCoverage(tensors_, path, data));
  std::sort(tensors_.begin(), tensors_.end(),
            [](const TensorView& a, const TensorView& b) { return a.name < b.name; });
  return {};
}

const TensorView* SafetensorsFile::Find(std::string_view name) const {
  const auto found = std::lower_bound(
      tensors_.begin(), tensors_.end(), name,
      [](const TensorView& tensor, std::string_view n) { return tensor.name < n; });
  return found == tensors_.end() || found->name != name ? nullptr : &*found;
}

}  // namespace lorry::formats
