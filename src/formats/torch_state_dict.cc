#include "formats/torch_state_dict.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <set>

#include "formats/json.h"
#include "formats/tensor_view.h"

namespace lorry::formats {
namespace {

using Kind = PickleValue::Kind;

constexpr size_t kMaxDimensions = 64;  // torch's own limit

// PickleValue::object_type; `number` is the place in the list named, or the type of the elements.
enum ObjectType : uint8_t {
  kOrderedDictClass,
  kRebuildTensorFunction,
  kRebuildParameterFunction,
  kStorageClass,  // number: the DType
  kStorage,       // number: in storages_
  kTensor,        // number: in tensors_
};

struct AllowedGlobal {
  std::string_view module, name;
  ObjectType type;
  DType dtype = DType::kF32;
};

constexpr AllowedGlobal kAllowed[] = {
    {"collections", "OrderedDict", kOrderedDictClass},
    {"torch._utils", "_rebuild_tensor_v2", kRebuildTensorFunction},
    {"torch._utils", "_rebuild_parameter", kRebuildParameterFunction},
    {"torch", "FloatStorage", kStorageClass, DType::kF32},
    {"torch", "BFloat16Storage", kStorageClass, DType::kBF16},
    {"torch", "HalfStorage", kStorageClass, DType::kF16},
    {"torch", "DoubleStorage", kStorageClass, DType::kF64},
    {"torch", "LongStorage", kStorageClass, DType::kI64},
    {"torch", "IntStorage", kStorageClass, DType::kI32},
    {"torch", "ShortStorage", kStorageClass, DType::kI16},
    {"torch", "CharStorage", kStorageClass, DType::kI8},
    {"torch", "ByteStorage", kStorageClass, DType::kU8},
    {"torch", "BoolStorage", kStorageClass, DType::kBool},
};

PickleValue Object(ObjectType type, int64_t number) {
  return {.kind = Kind::kObject, .object_type = type, .number = number};
}

bool IsObject(const PickleValue& value, ObjectType type) {
  return value.kind == Kind::kObject && value.object_type == type;
}

bool IsEmptyDict(const PickleValue& value, const PickleHeap& heap) {
  return value.kind == Kind::kDict && heap.Items(value).empty();
}

tl::unexpected<Error> Malformed(std::string message) {
  return Fail(ErrorCode::kDataLoss, std::move(message));
}

Result<std::vector<int64_t>> Dimensions(const PickleValue& value, const PickleHeap& heap) {
  if (value.kind != Kind::kTuple) {
    return Malformed(fmt::format("a shape is {}, not a tuple", PickleKindName(value.kind)));
  }
  const std::vector<PickleValue>& items = heap.Items(value);
  if (items.size() > kMaxDimensions) {
    return Fail(ErrorCode::kTooLarge, fmt::format("a tensor of {} dimensions, the limit is {}",
                                                  items.size(), kMaxDimensions));
  }
  std::vector<int64_t> dimensions;
  for (const PickleValue& item : items) {
    if (item.kind != Kind::kInt || item.number < 0) {
      return Malformed("a shape or stride that is not a number, or negative");
    }
    dimensions.push_back(item.number);
  }
  return dimensions;
}

}  // namespace

Result<size_t> TorchStateDict::Read(std::span<const std::byte> pickle) {
  PickleHeap heap;
  ASSIGN_OR_RETURN(const PickleResult result, ReadPickle(pickle, *this, heap));
  if (result.value.kind != Kind::kDict) {
    return Fail(ErrorCode::kUnsupported,
                fmt::format("holds {}, not a dict of tensors", PickleKindName(result.value.kind)));
  }
  const std::vector<PickleValue>& items = heap.Items(result.value);
  std::set<std::string_view> names;
  for (size_t i = 0; i < items.size(); i += 2) {
    const PickleValue& key = items[i];
    const PickleValue& value = items[i + 1];
    if (key.kind != Kind::kText) {
      return Fail(ErrorCode::kUnsupported,
                  fmt::format("a key of the dict is {}, not a name", PickleKindName(key.kind)));
    }
    if (!IsObject(value, kTensor)) {
      return Fail(ErrorCode::kUnsupported, fmt::format("{} is {}, not a tensor", Quoted(key.text),
                                                       PickleKindName(value.kind)));
    }
    if (!names.insert(key.text).second) {
      return Malformed(fmt::format("tensor {} stands there twice", Quoted(key.text)));
    }
    named_.emplace_back(key.text, tensors_[static_cast<size_t>(value.number)]);
  }
  return result.used_bytes;
}

std::optional<size_t> TorchStateDict::FindStorage(std::string_view key) const {
  const auto found = storage_by_key_.find(key);
  if (found == storage_by_key_.end()) return std::nullopt;
  return found->second;
}

Result<PickleValue> TorchStateDict::FindGlobal(std::string_view module, std::string_view name) {
  for (const AllowedGlobal& allowed : kAllowed) {
    if (allowed.module == module && allowed.name == name) {
      return Object(allowed.type, static_cast<int64_t>(allowed.dtype));
    }
  }
  return Fail(ErrorCode::kPermission,
              fmt::format("names {}, which is not among what weights are made of; nothing was run",
                          Quoted(fmt::format("{}.{}", module, name))));
}

Result<PickleValue> TorchStateDict::Call(const PickleValue& callable,
                                         std::span<const PickleValue> arguments, PickleHeap& heap) {
  if (IsObject(callable, kOrderedDictClass)) {
    if (!arguments.empty()) return Malformed("OrderedDict is called with arguments");
    return heap.New(Kind::kDict, {});
  }
  if (IsObject(callable, kRebuildTensorFunction)) return RebuildTensor(arguments, heap);
  if (IsObject(callable, kRebuildParameterFunction)) return RebuildParameter(arguments, heap);
  return Fail(ErrorCode::kPermission, "calls what is not among the functions that make tensors");
}

// (storage, offset, shape, strides, requires_grad, backward_hooks[, metadata])
Result<PickleValue> TorchStateDict::RebuildTensor(std::span<const PickleValue> arguments,
                                                  const PickleHeap& heap) {
  const bool shaped = (arguments.size() == 6 || arguments.size() == 7) &&
                      IsObject(arguments[0], kStorage) && arguments[1].kind == Kind::kInt &&
                      arguments[4].kind == Kind::kBool && IsEmptyDict(arguments[5], heap);
  if (!shaped) return Malformed("_rebuild_tensor_v2 is called with arguments not its own");
  // Marks such as "negate when read", which a copy of the bytes would lose.
  if (arguments.size() == 7 && arguments[6].kind != Kind::kNone &&
      !IsEmptyDict(arguments[6], heap)) {
    return Fail(ErrorCode::kUnsupported, "a tensor with metadata of its own");
  }
  if (arguments[1].number < 0) return Malformed("a tensor begins before its storage");
  StoredTensor tensor{.storage_idx = static_cast<size_t>(arguments[0].number),
                      .offset = static_cast<uint64_t>(arguments[1].number)};
  ASSIGN_OR_RETURN(tensor.shape, Dimensions(arguments[2], heap));
  ASSIGN_OR_RETURN(tensor.strides, Dimensions(arguments[3], heap));
  RETURN_IF_ERROR(CheckInside(tensor));
  tensors_.push_back(std::move(tensor));
  return Object(kTensor, static_cast<int64_t>(tensors_.size() - 1));
}

// (tensor, requires_grad, backward_hooks): the tensor itself.
Result<PickleValue> TorchStateDict::RebuildParameter(std::span<const PickleValue> arguments,
                                                     const PickleHeap& heap) {
  const bool shaped = arguments.size() == 3 && IsObject(arguments[0], kTensor) &&
                      arguments[1].kind == Kind::kBool && IsEmptyDict(arguments[2], heap);
  if (!shaped) return Malformed("_rebuild_parameter is called with arguments not its own");
  return arguments[0];
}

Status TorchStateDict::CheckInside(const StoredTensor& tensor) const {
  const TorchStorage& storage = storages_[tensor.storage_idx];
  const auto outside = [&] {
    return Malformed(fmt::format(
        "a tensor of shape [{}], strides [{}] from element {} on lies outside its storage of {}",
        fmt::join(tensor.shape, ", "), fmt::join(tensor.strides, ", "), tensor.offset,
        storage.num_elements));
  };
  if (tensor.shape.size() != tensor.strides.size()) return outside();
  if (!ShapeBytes(tensor.shape, storage.dtype)) return outside();
  if (tensor.offset > storage.num_elements) return outside();
  if (std::count(tensor.shape.begin(), tensor.shape.end(), 0) > 0) return {};
  uint64_t last = tensor.offset;
  for (size_t i = 0; i < tensor.shape.size(); ++i) {
    uint64_t reach;
    if (__builtin_mul_overflow(static_cast<uint64_t>(tensor.shape[i] - 1),
                               static_cast<uint64_t>(tensor.strides[i]), &reach) ||
        __builtin_add_overflow(last, reach, &last)) {
      return outside();
    }
  }
  return last < storage.num_elements ? Status() : outside();
}

// ("storage", class, key, device, number of elements[, view]): the device is where it was.
Result<PickleValue> TorchStateDict::LoadPersistent(const PickleValue& id, const PickleHeap& heap) {
  if (id.kind != Kind::kTuple) return Malformed("a persistent id that is not a tuple");
  const std::vector<PickleValue>& parts = heap.Items(id);
  const bool shaped = (parts.size() == 5 || parts.size() == 6) && parts[0].kind == Kind::kText &&
                      parts[0].text == "storage" && IsObject(parts[1], kStorageClass) &&
                      parts[2].kind == Kind::kText && parts[3].kind == Kind::kText &&
                      parts[4].kind == Kind::kInt &&
                      (parts.size() == 5 || parts[5].kind == Kind::kNone);
  if (!shaped) return Malformed("a persistent id that is not a storage's");
  TorchStorage storage{.key = parts[2].text,
                       .dtype = static_cast<DType>(parts[1].number),
                       .num_elements = static_cast<uint64_t>(parts[4].number)};
  uint64_t num_bytes;
  if (parts[4].number < 0 ||
      __builtin_mul_overflow(storage.num_elements, DTypeBytes(storage.dtype), &num_bytes)) {
    return Malformed(fmt::format("a storage of {} elements", parts[4].number));
  }
  const auto [found, added] = storage_by_key_.emplace(storage.key, storages_.size());
  if (added) {
    storages_.push_back(storage);
  } else if (const TorchStorage& known = storages_[found->second];
             known.dtype != storage.dtype || known.num_elements != storage.num_elements) {
    return Malformed(fmt::format("storage {} is spoken of in two ways", Quoted(storage.key)));
  }
  return Object(kStorage, static_cast<int64_t>(found->second));
}

}  // namespace lorry::formats
