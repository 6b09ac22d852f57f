#include "formats/safetensors.h"

#include <algorithm>
#include <boost/json/array.hpp>
#include <cstring>
#include <optional>

#include "formats/file_kind.h"
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

// One entry of the header; `data_begin` is where the data begins in the file, `data_bytes` how much
// of it there is.
Result<TensorEntry> ParseTensor(const json::key_value_pair& entry, const std::string& path,
                                uint64_t data_begin, uint64_t data_bytes) {
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
  if (static_cast<uint64_t>(offsets[1]) > data_bytes) {
    return fields.FieldError(
        "data_offsets",
        fmt::format("ends at {}, the file holds {} bytes of data: it is cut short, or its download "
                    "was not completed",
                    offsets[1], data_bytes),
        ErrorCode::kDataLoss);
  }
  const uint64_t stored_bytes = static_cast<uint64_t>(offsets[1] - offsets[0]);
  if (ShapeBytes(shape, *dtype) != stored_bytes) {
    return fields.FieldError("shape",
                             fmt::format("does not fit the {} bytes of its data", stored_bytes),
                             ErrorCode::kDataLoss);
  }
  return TensorEntry{std::string(name), *dtype, std::move(shape),
                     data_begin + static_cast<uint64_t>(offsets[0]), stored_bytes};
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
Status CheckCoverage(std::vector<TensorEntry>& tensors, const std::string& path,
                     uint64_t data_begin, uint64_t data_bytes) {
  std::sort(tensors.begin(), tensors.end(), [](const TensorEntry& a, const TensorEntry& b) {
    return std::pair(a.offset, a.num_bytes) < std::pair(b.offset, b.num_bytes);
  });
  uint64_t covered = data_begin;
  for (const TensorEntry& tensor : tensors) {
    if (tensor.offset != covered) {
      return Fail(
          ErrorCode::kDataLoss,
          fmt::format("{}: tensor {} begins at {}, the data before it ends at {}", path,
                      Quoted(tensor.name), tensor.offset - data_begin, covered - data_begin));
    }
    covered += tensor.num_bytes;
  }
  if (covered != data_begin + data_bytes) {
    return Fail(ErrorCode::kDataLoss, fmt::format("{}: {} bytes of data, the tensors cover {}",
                                                  path, data_bytes, covered - data_begin));
  }
  return {};
}

// Why there is no header: what the file is, if that can be told from how it begins.
tl::unexpected<Error> NoHeader(ErrorCode code, const OpenedFile& file, const std::string& path,
                               const std::string& otherwise) {
  std::string begin(kKindBytes, '\0');
  ASSIGN_OR_RETURN(const size_t count,
                   ReadAt(file.fd, path, 0, std::as_writable_bytes(std::span(begin))));
  begin.resize(count);
  const std::string kind = KindOf(begin);
  if (kind.empty()) return Fail(code, fmt::format("{}: {}", path, otherwise));
  return Fail(ErrorCode::kDataLoss, fmt::format("{}: {}", path, kind));
}

// The header's text, after checking that the file is to hold all of it.
Result<std::string> ReadHeaderText(const OpenedFile& file, const std::string& path,
                                   uint64_t file_bytes, uint64_t max_bytes) {
  if (file_bytes < kLengthBytes) {
    return NoHeader(ErrorCode::kDataLoss, file, path,
                    fmt::format("{} bytes, too short for a header", file_bytes));
  }
  uint64_t header_bytes = 0;
  ASSIGN_OR_RETURN(const size_t length_bytes,
                   ReadAt(file.fd, path, 0, std::as_writable_bytes(std::span(&header_bytes, 1))));
  if (length_bytes < kLengthBytes) {
    return Fail(ErrorCode::kDataLoss, fmt::format("{}: was shortened while it was read", path));
  }
  if (header_bytes > max_bytes) {
    // One that the file itself cannot hold is no large header but a broken file.
    const bool fits = header_bytes <= file_bytes - kLengthBytes;
    return NoHeader(fits ? ErrorCode::kTooLarge : ErrorCode::kDataLoss, file, path,
                    fmt::format("a header of {} bytes, the limit is {}", header_bytes, max_bytes));
  }
  if (header_bytes > file_bytes - kLengthBytes) {
    return NoHeader(ErrorCode::kDataLoss, file, path,
                    fmt::format("the header is truncated: {} of {} bytes",
                                file_bytes - kLengthBytes, header_bytes));
  }
  std::string text(header_bytes, '\0');
  ASSIGN_OR_RETURN(const size_t count,
                   ReadAt(file.fd, path, kLengthBytes, std::as_writable_bytes(std::span(text))));
  if (count < text.size()) {
    return Fail(ErrorCode::kDataLoss, fmt::format("{}: was shortened while it was read", path));
  }
  if (!text.starts_with('{')) {
    return NoHeader(ErrorCode::kDataLoss, file, path, "the header does not begin with '{'");
  }
  return text;
}

template <typename Tensor>
const Tensor* FindByName(const std::vector<Tensor>& tensors, std::string_view name) {
  const auto found =
      std::lower_bound(tensors.begin(), tensors.end(), name,
                       [](const Tensor& tensor, std::string_view n) { return tensor.name < n; });
  return found == tensors.end() || found->name != name ? nullptr : &*found;
}

}  // namespace

int64_t TensorEntry::num_elements() const {
  return static_cast<int64_t>(num_bytes / DTypeBytes(dtype));
}

std::string TensorEntry::Describe() const {
  return TensorView{.dtype = dtype, .shape = shape}.Describe();
}

Result<SafetensorsHeader> SafetensorsHeader::ReadBeginning(const OpenedFile& file,
                                                           const std::string& path,
                                                           uint64_t file_bytes,
                                                           uint64_t max_bytes) {
  SafetensorsHeader header;
  ASSIGN_OR_RETURN(header.text_, ReadHeaderText(file, path, file_bytes, max_bytes));
  RETURN_IF_ERROR(header.Parse(file_bytes, path));
  return header;
}

Result<SafetensorsHeader> SafetensorsHeader::Read(const OpenedFile& file, const std::string& path,
                                                  uint64_t max_bytes) {
  return ReadBeginning(file, path, file.size_bytes, max_bytes);
}

Result<SafetensorsHeader> SafetensorsHeader::Read(const std::string& path, uint64_t max_bytes) {
  ASSIGN_OR_RETURN(const OpenedFile file, OpenRegular(path));
  return Read(file, path, max_bytes);
}

Status SafetensorsHeader::Parse(uint64_t file_bytes, const std::string& path) {
  const JsonLimits limits{
      .max_bytes = kMaxSafetensorsHeaderBytes, .max_depth = 3, .refuse_duplicate_keys = true};
  ASSIGN_OR_RETURN(const json::object header, ParseJsonObject(text_, path + ": header", limits));
  const uint64_t data_begin = kLengthBytes + text_.size();
  const uint64_t data_bytes = file_bytes - data_begin;
  tensors_.reserve(header.size());
  for (const json::key_value_pair& entry : header) {
    if (entry.key() == "__metadata__") {
      ASSIGN_OR_RETURN(metadata_, ParseMetadata(entry.value(), path));
    } else {
      ASSIGN_OR_RETURN(TensorEntry tensor, ParseTensor(entry, path, data_begin, data_bytes));
      tensors_.push_back(std::move(tensor));
    }
  }
  RETURN_IF_ERROR(CheckCoverage(tensors_, path, data_begin, data_bytes));
  std::sort(tensors_.begin(), tensors_.end(),
            [](const TensorEntry& a, const TensorEntry& b) { return a.name < b.name; });
  return {};
}

const TensorEntry* SafetensorsHeader::Find(std::string_view name) const {
  return FindByName(tensors_, name);
}

std::vector<TensorView> SafetensorsHeader::Outlines() const {
  std::vector<TensorView> outlines;
  outlines.reserve(tensors_.size());
  for (const TensorEntry& tensor : tensors_) {
    outlines.push_back({.name = tensor.name, .dtype = tensor.dtype, .shape = tensor.shape});
  }
  return outlines;
}

Result<SafetensorsFile> SafetensorsFile::Read(const std::string& path) {
  ASSIGN_OR_RETURN(const OpenedFile file, OpenRegular(path));
  ASSIGN_OR_RETURN(SafetensorsHeader header, SafetensorsHeader::Read(file, path));
  return Read(file, path, std::move(header));
}

Result<SafetensorsFile> SafetensorsFile::Read(const OpenedFile& file, const std::string& path,
                                              SafetensorsHeader header) {
  ASSIGN_OR_RETURN(FileBytes whole, FileBytes::Read(file, path));
  const std::span<const std::byte> bytes = whole.bytes();
  uint64_t header_bytes;
  std::memcpy(&header_bytes, bytes.data(), kLengthBytes);
  const std::string& text = header.text_;
  if (header_bytes != text.size() ||
      std::memcmp(bytes.data() + kLengthBytes, text.data(), text.size()) != 0) {
    return Fail(ErrorCode::kDataLoss, fmt::format("{}: was rewritten while it was read", path));
  }
  SafetensorsFile result(std::move(whole));
  result.tensors_ = header.Outlines();
  for (size_t i = 0; i < result.tensors_.size(); ++i) {
    result.tensors_[i].bytes =
        bytes.subspan(header.tensors_[i].offset, header.tensors_[i].num_bytes);
  }
  result.metadata_ = std::move(header.metadata_);
  return result;
}

const TensorView* SafetensorsFile::Find(std::string_view name) const {
  return FindByName(tensors_, name);
}

}  // namespace lorry::formats
