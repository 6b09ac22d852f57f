#include "formats/safetensors_writer.h"

#include <gmock/gmock.h>

#include "formats/safetensors.h"
#include "formats/test_files.h"

namespace lorry::formats {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Pair;

std::span<const std::byte> Bytes(std::string_view text) { return std::as_bytes(std::span(text)); }

std::string Text(std::span<const std::byte> bytes) {
  return std::string(reinterpret_cast<const char*>(bytes.data()), bytes.size());
}

// A name that needs escapes, every width, a scalar and a tensor without elements.
const std::vector<TensorSpec> kTensors = {
    {"tiny", DType::kU8, {3}}, {"wide", DType::kF64, {1}},         {"b", DType::kBF16, {2, 1}},
    {"a", DType::kF16, {}},    {"quote\"\n\\é", DType::kF32, {2}}, {"empty", DType::kF32, {0, 7}},
};

Status WriteAll(const std::string& path, const std::vector<TensorSpec>& tensors) {
  ASSIGN_OR_RETURN(SafetensorsWriter writer, SafetensorsWriter::Create(path, tensors));
  for (const TensorSpec& tensor : tensors) {
    std::string data = tensor.name + "0123456789abcdef";
    size_t elements = 1;
    for (int64_t dim : tensor.shape) elements *= static_cast<size_t>(dim);
    data.resize(elements * DTypeBytes(tensor.dtype));
    RETURN_IF_ERROR(writer.Append(tensor.name, Bytes(data)));
  }
  return writer.Finish();
}

TEST(SafetensorsWriter, OurReaderGivesBackWhatWasWritten) {
  const TempDir dir;
  const std::string path = dir.Path("x.safetensors");
  SafetensorsWriteOptions options;
  options.metadata = {{"format", "pt"}, {"quote\"", "line\nbreak"}};
  options.sync = true;
  Result<SafetensorsWriter> writer = SafetensorsWriter::Create(path, kTensors, options);
  ASSERT_TRUE(writer) << writer.error().message;
  // Out of order, in pieces, of several tensors in turn.
  EXPECT_TRUE(writer->Append("b", Bytes("B0")));
  EXPECT_TRUE(writer->Append("tiny", Bytes("xyz")));
  EXPECT_TRUE(writer->Append("wide", Bytes("12345678")));
  EXPECT_TRUE(writer->Append("b", Bytes("B1")));
  EXPECT_TRUE(writer->Append("empty", {}));
  EXPECT_TRUE(writer->Append("quote\"\n\\é", Bytes("qqqqrrrr")));
  EXPECT_FALSE(writer->complete());
  EXPECT_TRUE(writer->Append("a", Bytes("AA")));
  EXPECT_TRUE(writer->complete());
  EXPECT_FALSE(std::filesystem::exists(path));
  const Status finished = writer->Finish();
  ASSERT_TRUE(finished) << finished.error().message;

  const Result<SafetensorsFile> file = SafetensorsFile::Read(path);
  ASSERT_TRUE(file) << file.error().message;
  EXPECT_THAT(file->metadata(), ElementsAre(Pair("format", "pt"), Pair("quote\"", "line\nbreak")));
  std::map<std::string, std::string> read;
  for (const TensorView& tensor : file->tensors()) {
    read[tensor.name] = tensor.Describe() + " " + Text(tensor.bytes);
  }
  EXPECT_THAT(read,
              ElementsAre(Pair("a", "F16 [] AA"), Pair("b", "BF16 [2, 1] B0B1"),
                          Pair("empty", "F32 [0, 7] "), Pair("quote\"\n\\é", "F32 [2] qqqqrrrr"),
                          Pair("tiny", "U8 [3] xyz"), Pair("wide", "F64 [1] 12345678")));
}

TEST(SafetensorsWriter, TheOrderOfTheCallerLeavesNoTraceAndElementsAreAligned) {
  const TempDir dir;
  std::vector<TensorSpec> reversed(kTensors.rbegin(), kTensors.rend());
  ASSERT_TRUE(WriteAll(dir.Path("one"), kTensors));
  ASSERT_TRUE(WriteAll(dir.Path("two"), reversed));
  EXPECT_EQ(ReadWhole(dir.Path("one")), ReadWhole(dir.Path("two")));

  const Result<SafetensorsFile> file = SafetensorsFile::Read(dir.Path("one"));
  ASSERT_TRUE(file);
  for (const TensorView& tensor : file->tensors()) {
    const auto offset = tensor.bytes.data() - file->file().bytes().data();
    EXPECT_EQ(static_cast<size_t>(offset) % DTypeBytes(tensor.dtype), 0u) << tensor.name;
  }
}

// save_file of the Python library wrote this one; ours must be the same bytes.
TEST(SafetensorsWriter, WritesWhatTheReferenceImplementationWrites) {
  const std::string golden = OraclePath("llama-default/adapters/full-r8/adapter_model.safetensors");
  const Result<SafetensorsFile> file = SafetensorsFile::Read(golden);
  ASSERT_TRUE(file) << file.error().message;
  std::vector<TensorSpec> tensors;
  for (const TensorView& tensor : file->tensors()) {
    tensors.push_back({tensor.name, tensor.dtype, tensor.shape});
  }
  const TempDir dir;
  Result<SafetensorsWriter> writer =
      SafetensorsWriter::Create(dir.Path("copy"), tensors, {.metadata = file->metadata()});
  ASSERT_TRUE(writer);
  for (const TensorView& tensor : file->tensors()) {
    ASSERT_TRUE(writer->Append(tensor.name, tensor.bytes));
  }
  ASSERT_TRUE(writer->Finish());
  EXPECT_TRUE(ReadWhole(dir.Path("copy")) == ReadWhole(golden));
}

TEST(SafetensorsWriter, AFileWithoutTensors) {
  const TempDir dir;
  Result<SafetensorsWriter> writer =
      SafetensorsWriter::Create(dir.Path("none"), {}, {.metadata = {}});
  ASSERT_TRUE(writer);
  ASSERT_TRUE(writer->Finish());
  const Result<SafetensorsFile> file = SafetensorsFile::Read(dir.Path("none"));
  ASSERT_TRUE(file) << file.error().message;
  EXPECT_TRUE(file->tensors().empty());
}

TEST(SafetensorsWriter, RefusesWhatNoReaderTakes) {
  const TempDir dir;
  const auto refusal = [&](const std::vector<TensorSpec>& tensors) {
    const auto writer = SafetensorsWriter::Create(dir.Path("x"), tensors);
    return writer ? std::string("written") : writer.error().message;
  };
  EXPECT_THAT(refusal({{"a", DType::kF32, {1}}, {"a", DType::kF32, {1}}}), HasSubstr("twice"));
  EXPECT_THAT(refusal({{"a", DType::kF32, {1}}, {"a", DType::kU8, {1}}}), HasSubstr("twice"));
  EXPECT_THAT(refusal({{"\xff\xfe", DType::kF32, {1}}}), HasSubstr("not valid JSON"));
  EXPECT_THAT(refusal({{"__metadata__", DType::kF32, {1}}}), HasSubstr("cannot be named"));
  EXPECT_THAT(refusal({{"huge", DType::kF32, {INT64_MAX, 2}}}), HasSubstr("does not fit a file"));
  EXPECT_THAT(refusal({{"a", DType::kU8, {INT64_MAX}}, {"b", DType::kU8, {1}}}),
              HasSubstr("does not fit a file"));
  EXPECT_TRUE(std::filesystem::is_empty(dir.path()));
}

TEST(SafetensorsWriter, LeavesNothingWhenGivenUp) {
  const TempDir dir;
  {
    Result<SafetensorsWriter> writer = SafetensorsWriter::Create(dir.Path("x"), kTensors);
    ASSERT_TRUE(writer);
    ASSERT_TRUE(writer->Append("tiny", Bytes("x")));
  }
  EXPECT_TRUE(std::filesystem::is_empty(dir.path()));
}

}  // namespace
}  // namespace lorry::formats
