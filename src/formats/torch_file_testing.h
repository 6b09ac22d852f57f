// For tests: pickles written opcode by opcode, and the files around them.
// Owns: nothing. Thread: one test.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "formats/archive_testing.h"
#include "formats/safetensors.h"

namespace lorry::formats::pickle {

inline std::string Number(uint64_t value, int bytes) {
  std::string out;
  AppendNumber(&out, value, bytes);
  return out;
}

inline std::string Text(std::string_view text) {
  return "X" + Number(text.size(), 4) + std::string(text);
}
// LONG1 of all eight bytes.
inline std::string Int(int64_t value) {
  return "\x8a\x08" + Number(static_cast<uint64_t>(value), 8);
}
inline std::string Global(std::string_view module, std::string_view name) {
  return fmt::format("c{}\n{}\n", module, name);
}
inline std::string Tuple(const std::vector<std::string>& items) {
  std::string out = "(";
  for (const std::string& item : items) out += item;
  return out + "t";
}
inline std::string Ints(const std::vector<int64_t>& values) {
  std::vector<std::string> items;
  for (int64_t value : values) items.push_back(Int(value));
  return Tuple(items);
}
inline std::string Call(const std::string& callable, const std::vector<std::string>& arguments) {
  return callable + Tuple(arguments) + "R";
}
inline std::string Dict(const std::vector<std::pair<std::string, std::string>>& entries) {
  std::string out = "}(";
  for (const auto& [key, value] : entries) out += Text(key) + value;
  return out + "u";
}
inline std::string Whole(const std::string& value) { return "\x80\x02" + value + "."; }

inline const std::string kNone = "N", kFalse = "\x89";
inline const std::string kHooks = Call(Global("collections", "OrderedDict"), {});

inline std::string Storage(int64_t num_elements, std::string_view type = "FloatStorage",
                           std::string_view key = "0") {
  return Tuple(
             {Text("storage"), Global("torch", type), Text(key), Text("cpu"), Int(num_elements)}) +
         "Q";
}
inline std::string Tensor(const std::string& storage, int64_t offset,
                          const std::vector<int64_t>& shape, const std::vector<int64_t>& strides) {
  return Call(Global("torch._utils", "_rebuild_tensor_v2"),
              {storage, Int(offset), Ints(shape), Ints(strides), kFalse, kHooks});
}

// A zip of stored members, as torch.save writes it.
inline std::string StoredZip(const std::vector<std::pair<std::string, std::string>>& members) {
  std::string zip, directory;
  for (const auto& [name, content] : members) {
    std::string fields;  // what both headers have in common
    AppendNumber(&fields, 0, 2);
    AppendNumber(&fields, 0, 2);
    AppendNumber(&fields, 0, 2);
    AppendNumber(&fields, 0, 8);
    AppendNumber(&fields, content.size(), 4);
    AppendNumber(&fields, content.size(), 4);
    AppendNumber(&fields, name.size(), 2);
    AppendNumber(&fields, 0, 2);
    directory += "PK\1\2" + Number(0, 2) + fields + Number(0, 10) + Number(zip.size(), 4) + name;
    zip += "PK\3\4" + fields + name + content;
  }
  const size_t begin = zip.size();
  return zip + directory + "PK\5\6" + Number(0, 4) + Number(members.size(), 2) +
         Number(members.size(), 2) + Number(directory.size(), 4) + Number(begin, 4) + Number(0, 2);
}

// torch.save's file with this pickle and one storage, "0".
inline std::string TorchZip(const std::string& pickle, const std::string& storage = {}) {
  return StoredZip({{"x/data.pkl", pickle}, {"x/byteorder", "little"}, {"x/data/0", storage}});
}

// The f16 tensors of a safetensors file as torch.save writes them: views of one storage.
inline std::string TorchZipOf(const std::string& safetensors_path) {
  const SafetensorsFile file = SafetensorsFile::Read(safetensors_path).value();
  const std::byte* begin = file.file().bytes().data() + file.file().bytes().size();
  for (const TensorView& tensor : file.tensors()) begin = std::min(begin, tensor.bytes.data());
  const std::byte* end = file.file().bytes().data() + file.file().bytes().size();
  std::vector<std::pair<std::string, std::string>> entries;
  for (const TensorView& tensor : file.tensors()) {
    EXPECT_EQ(tensor.dtype, DType::kF16);
    std::vector<int64_t> strides(tensor.shape.size(), 1);
    for (size_t i = strides.size(); i-- > 1;) strides[i - 1] = strides[i] * tensor.shape[i];
    entries.emplace_back(tensor.name,
                         Tensor(Storage((end - begin) / 2, "HalfStorage"),
                                (tensor.bytes.data() - begin) / 2, tensor.shape, strides));
  }
  return TorchZip(Whole(Dict(entries)), std::string(reinterpret_cast<const char*>(begin),
                                                    static_cast<size_t>(end - begin)));
}

}  // namespace lorry::formats::pickle
