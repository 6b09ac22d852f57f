#include "formats/torch_file.h"

#include <algorithm>
#include <cstring>
#include <optional>

#include "base/check.h"
#include "formats/file_kind.h"
#include "formats/json.h"
#include "formats/pickle_reader.h"
#include "formats/safetensors_writer.h"
#include "formats/stored_zip.h"
#include "formats/tensor_view.h"
#include "formats/torch_state_dict.h"

namespace lorry::formats {
namespace {

using Bytes = std::span<const std::byte>;

constexpr std::string_view kZipBegin = "PK\x03\x04";
// PROTO 2, LONG1 0x1950a86a20f9469cfc6c, STOP: what the form before torch 1.6 begins with.
constexpr std::string_view kLegacyBegin("\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.",
                                        15);
constexpr int64_t kLegacyProtocol = 1001;
constexpr uint64_t kAlwaysBytes = uint64_t{64} << 20;  // TorchFileLimits::max_ratio
constexpr size_t kPieceBytes = size_t{64} << 10;

std::string_view Text(Bytes bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

tl::unexpected<Error> Damaged(std::string_view what) {
  return Fail(ErrorCode::kDataLoss, std::string(what));
}

// The data of each storage of `dict`, in its order.
using StorageBytes = std::vector<Bytes>;

struct Content {
  TorchStateDict dict;
  StorageBytes storages;
};

Result<Content> ReadZip(Bytes file) {
  ASSIGN_OR_RETURN(const StoredZip zip, StoredZip::Parse(file, "zip"));
  constexpr std::string_view kPickle = "/data.pkl";
  std::optional<std::string> folder;  // torch names it after the file that it wrote
  for (const auto& [name, bytes] : zip.members()) {
    if (!name.ends_with(kPickle)) continue;
    if (folder) return Damaged("data.pkl stands in the zip twice");
    folder = name.substr(0, name.size() - kPickle.size());
  }
  if (!folder) {
    return Fail(ErrorCode::kUnsupported, "a zip without data.pkl, so torch.save did not write it");
  }
  const std::optional<Bytes> order = zip.Find(*folder + "/byteorder");
  if (order && Text(*order) != "little") {
    return Fail(ErrorCode::kUnsupported, "written on a machine of another byte order");
  }
  Content content;
  const Result<size_t> read = content.dict.Read(*zip.Find(*folder + std::string(kPickle)));
  if (!read) return Annotate(read.error(), "data.pkl");
  for (const TorchStorage& storage : content.dict.storages()) {
    const std::optional<Bytes> data = zip.Find(fmt::format("{}/data/{}", *folder, storage.key));
    if (!data) return Damaged(fmt::format("storage {} is missing", Quoted(storage.key)));
    if (data->size() != storage.num_bytes()) {
      return Damaged(fmt::format("storage {} has {} bytes, the pickle says {}", Quoted(storage.key),
                                 data->size(), storage.num_bytes()));
    }
    content.storages.push_back(*data);
  }
  return content;
}

// For the pickles around the state dict: they name nothing.
class PlainEnvironment : public PickleEnvironment {
 public:
  Result<PickleValue> FindGlobal(std::string_view module, std::string_view name) override {
    return Fail(ErrorCode::kPermission,
                fmt::format("names {} where nothing is to be named; nothing was run",
                            Quoted(fmt::format("{}.{}", module, name))));
  }
  Result<PickleValue> Call(const PickleValue&, std::span<const PickleValue>, PickleHeap&) override {
    return Fail(ErrorCode::kPermission, "calls something where nothing is to be called");
  }
  Result<PickleValue> LoadPersistent(const PickleValue&, const PickleHeap&) override {
    return Damaged("a persistent id where none is to be");
  }
};

// The form before torch 1.6: one pickle after another (a magic number, the protocol, the machine,
// the state dict, the keys of its storages), then each storage's length and data.
class LegacyReader {
 public:
  explicit LegacyReader(Bytes file) : rest_(file.subspan(kLegacyBegin.size())) {}

  Result<Content> Read() {
    RETURN_IF_ERROR(ReadPreamble());
    Content content;
    ASSIGN_OR_RETURN(const size_t used, content.dict.Read(rest_));
    rest_ = rest_.subspan(used);
    ASSIGN_OR_RETURN(const std::vector<std::string_view> keys, ReadKeys());
    const std::vector<TorchStorage>& storages = content.dict.storages();
    if (keys.size() != storages.size()) {
      return Damaged(fmt::format("{} storages for the {} that the tensors need", keys.size(),
                                 storages.size()));
    }
    content.storages.resize(storages.size());
    std::vector<bool> found(storages.size());
    for (std::string_view key : keys) {
      const std::optional<size_t> idx = content.dict.FindStorage(key);
      if (!idx || found[*idx]) {
        return Damaged(fmt::format("storage {} is unknown or stands there twice", Quoted(key)));
      }
      found[*idx] = true;
      ASSIGN_OR_RETURN(content.storages[*idx], TakeStorage(storages[*idx]));
    }
    if (!rest_.empty())
      return Damaged(fmt::format("{} bytes follow the last storage", rest_.size()));
    return content;
  }

 private:
  Result<PickleValue> ReadPlain(PickleHeap& heap) {
    PlainEnvironment environment;
    ASSIGN_OR_RETURN(const PickleResult result, ReadPickle(rest_, environment, heap));
    rest_ = rest_.subspan(result.used_bytes);
    return result.value;
  }

  Status ReadPreamble() {
    PickleHeap heap;
    ASSIGN_OR_RETURN(const PickleValue protocol, ReadPlain(heap));
    if (protocol.kind != PickleValue::Kind::kInt || protocol.number != kLegacyProtocol) {
      return Fail(ErrorCode::kUnsupported, "a protocol of torch.save other than 1001");
    }
    ASSIGN_OR_RETURN(const PickleValue machine, ReadPlain(heap));
    if (machine.kind != PickleValue::Kind::kDict) return Damaged("no description of the machine");
    const std::vector<PickleValue>& items = heap.Items(machine);
    for (size_t i = 0; i < items.size(); i += 2) {
      if (items[i].kind == PickleValue::Kind::kText && items[i].text == "little_endian" &&
          items[i + 1].number == 0) {
        return Fail(ErrorCode::kUnsupported, "written on a machine of another byte order");
      }
    }
    return {};
  }

  Result<std::vector<std::string_view>> ReadKeys() {
    PickleHeap heap;
    ASSIGN_OR_RETURN(const PickleValue list, ReadPlain(heap));
    if (list.kind != PickleValue::Kind::kList) return Damaged("no list of storages");
    std::vector<std::string_view> keys;
    for (const PickleValue& key : heap.Items(list)) {
      if (key.kind != PickleValue::Kind::kText) return Damaged("a storage without a name");
      keys.push_back(key.text);
    }
    return keys;
  }

  Result<Bytes> TakeStorage(const TorchStorage& storage) {
    uint64_t num_elements;
    if (rest_.size() < sizeof(num_elements)) return Damaged("the file is cut short");
    std::memcpy(&num_elements, rest_.data(), sizeof(num_elements));
    rest_ = rest_.subspan(sizeof(num_elements));
    if (num_elements != storage.num_elements) {
      return Damaged(fmt::format("storage {} has {} elements, the pickle says {}",
                                 Quoted(storage.key), num_elements, storage.num_elements));
    }
    if (storage.num_bytes() > rest_.size()) return Damaged("the file is cut short");
    const Bytes data = rest_.first(storage.num_bytes());
    rest_ = rest_.subspan(data.size());
    return data;
  }

  Bytes rest_;
};

Result<Content> ReadContent(Bytes file) {
  if (Text(file).starts_with(kZipBegin)) return ReadZip(file);
  if (Text(file).starts_with(kLegacyBegin)) return LegacyReader(file).Read();
  const std::string kind = KindOf(file);
  return Fail(ErrorCode::kUnsupported, kind.empty() ? "not a file of torch.save" : kind);
}

std::vector<TorchTensor> MakeTensors(const Content& content) {
  std::vector<TorchTensor> tensors;
  for (const auto& [name, stored] : content.dict.tensors()) {
    const TorchStorage& storage = content.dict.storages()[stored.storage_idx];
    tensors.push_back({.name = name,
                       .dtype = storage.dtype,
                       .shape = stored.shape,
                       .strides = stored.strides,
                       .bytes = content.storages[stored.storage_idx].subspan(
                           stored.offset * DTypeBytes(storage.dtype))});
  }
  return tensors;
}

Status CheckTotal(const std::vector<TorchTensor>& tensors, const TorchFileLimits& limits,
                  uint64_t file_bytes) {
  uint64_t by_ratio;
  if (__builtin_mul_overflow(file_bytes, limits.max_ratio, &by_ratio)) by_ratio = UINT64_MAX;
  const uint64_t max_bytes = std::min(limits.max_bytes, std::max(kAlwaysBytes, by_ratio));
  uint64_t total = 0;
  for (const TorchTensor& tensor : tensors) {
    if (__builtin_add_overflow(total, tensor.num_bytes(), &total) || total > max_bytes) {
      return Fail(ErrorCode::kTooLarge,
                  fmt::format("its tensors take more than {} bytes, the limit", max_bytes));
    }
  }
  return {};
}

// Collects elements that lie apart into pieces.
class Gather {
 public:
  explicit Gather(const std::function<Status(Bytes)>& sink) : sink_(sink) {}

  // `count` elements, `stride_bytes` from one to the next.
  template <size_t kElementBytes>
  Status Take(const std::byte* first, uint64_t count, uint64_t stride_bytes) {
    for (uint64_t i = 0; i < count; ++i) {
      if (used_ + kElementBytes > piece_.size()) RETURN_IF_ERROR(Flush());
      std::memcpy(piece_.data() + used_, first + i * stride_bytes, kElementBytes);
      used_ += kElementBytes;
    }
    return {};
  }

  Status Flush() {
    RETURN_IF_ERROR(sink_(Bytes(piece_).first(used_)));
    used_ = 0;
    return {};
  }

 private:
  const std::function<Status(Bytes)>& sink_;
  std::vector<std::byte> piece_ = std::vector<std::byte>(kPieceBytes);
  size_t used_ = 0;
};

// Row by row of the last dimension, the others counted up like an odometer. No dimension is 0.
template <size_t kElementBytes>
Status GatherAll(const TorchTensor& tensor, Gather& gather) {
  const size_t num_outer = tensor.shape.size() - 1;
  std::vector<int64_t> at(num_outer, 0);
  uint64_t offset = 0;  // of the row's first element
  for (;;) {
    RETURN_IF_ERROR(gather.Take<kElementBytes>(
        tensor.bytes.data() + offset * kElementBytes, static_cast<uint64_t>(tensor.shape.back()),
        static_cast<uint64_t>(tensor.strides.back()) * kElementBytes));
    size_t dim = num_outer;
    for (; dim > 0; --dim) {
      const auto stride = static_cast<uint64_t>(tensor.strides[dim - 1]);
      offset += stride;
      if (++at[dim - 1] < tensor.shape[dim - 1]) break;
      offset -= stride * static_cast<uint64_t>(tensor.shape[dim - 1]);
      at[dim - 1] = 0;
    }
    if (dim == 0) return gather.Flush();
  }
}

}  // namespace

uint64_t TorchTensor::num_bytes() const {
  const std::optional<uint64_t> bytes = ShapeBytes(shape, dtype);
  CHECK(bytes.has_value());
  return *bytes;
}

bool TorchTensor::contiguous() const {
  if (num_bytes() == 0) return true;
  int64_t expected = 1;
  for (size_t i = shape.size(); i-- > 0;) {
    if (shape[i] != 1 && strides[i] != expected) return false;
    expected *= shape[i];
  }
  return true;
}

Result<TorchFile> TorchFile::Open(const std::string& path, const TorchFileLimits& limits) {
  ASSIGN_OR_RETURN(const OpenedFile opened, OpenRegular(path));
  const uint64_t max_bytes = limits.max_bytes + kAlwaysBytes;  // with what is around the tensors
  if (opened.size_bytes > max_bytes) {
    return Fail(ErrorCode::kTooLarge, fmt::format("{}: has {} bytes, the limit is {}", path,
                                                  opened.size_bytes, max_bytes));
  }
  ASSIGN_OR_RETURN(FileBytes file, FileBytes::Read(opened, path));
  Result<Content> content = ReadContent(file.bytes());
  if (!content) return Annotate(std::move(content.error()), path);
  std::vector<TorchTensor> tensors = MakeTensors(*content);
  const Status fits = CheckTotal(tensors, limits, file.bytes().size());
  if (!fits) return Annotate(fits.error(), path);
  return TorchFile(std::move(file), std::move(tensors));
}

Status ForEachPiece(const TorchTensor& tensor, const std::function<Status(Bytes)>& sink) {
  if (tensor.num_bytes() == 0) return {};
  if (tensor.contiguous()) return sink(tensor.bytes.first(tensor.num_bytes()));
  Gather gather(sink);
  switch (DTypeBytes(tensor.dtype)) {
    case 1:
      return GatherAll<1>(tensor, gather);
    case 2:
      return GatherAll<2>(tensor, gather);
    case 4:
      return GatherAll<4>(tensor, gather);
    default:
      return GatherAll<8>(tensor, gather);
  }
}

Status ConvertTorchFile(const std::string& torch_path, const std::string& safetensors_path,
                        const TorchFileLimits& limits) {
  ASSIGN_OR_RETURN(const TorchFile file, TorchFile::Open(torch_path, limits));
  std::vector<TensorSpec> specs;
  for (const TorchTensor& tensor : file.tensors()) {
    specs.push_back({tensor.name, tensor.dtype, tensor.shape});
  }
  ASSIGN_OR_RETURN(SafetensorsWriter writer, SafetensorsWriter::Create(safetensors_path, specs));
  for (const TorchTensor& tensor : file.tensors()) {
    RETURN_IF_ERROR(
        ForEachPiece(tensor, [&](Bytes piece) { return writer.Append(tensor.name, piece); }));
  }
  return writer.Finish();
}

}  // namespace lorry::formats
