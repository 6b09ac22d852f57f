#include "formats/torch_file.h"

#include <gmock/gmock.h>

#include "base/testing/source_dir.h"
#include "formats/safetensors.h"
#include "formats/test_files.h"

namespace lorry::formats {
namespace {

using ::testing::HasSubstr;

std::string TorchPath(std::string_view name) {
  return SourcePath("tests/data/torch/").append(name);
}

// name, form: what torch wrote, and what its tensors are as safetensors.
class TorchGoldens : public ::testing::TestWithParam<std::pair<const char*, const char*>> {};

INSTANTIATE_TEST_SUITE_P(Files, TorchGoldens,
                         ::testing::Values(std::pair("plain", ""), std::pair("plain", ".legacy"),
                                           std::pair("views", ""), std::pair("views", ".legacy"),
                                           std::pair("state_dict", ""),
                                           std::pair("state_dict", ".legacy")),
                         [](const auto& info) {
                           return std::string(info.param.first) +
                                  (*info.param.second == 0 ? "" : "_legacy");
                         });

// Byte for byte what Python's save_file makes of the same tensors.
TEST_P(TorchGoldens, BecomeTheSafetensorsFileThatPythonWrites) {
  const auto [name, form] = GetParam();
  const TempDir dir;
  const Status converted = ConvertTorchFile(TorchPath(fmt::format("{}{}.bin", name, form)),
                                            dir.Path("converted.safetensors"));
  ASSERT_TRUE(converted) << converted.error().message;
  const std::string golden = TorchPath(fmt::format("{}.safetensors", name));
  const Result<SafetensorsFile> ours = SafetensorsFile::Read(dir.Path("converted.safetensors"));
  const Result<SafetensorsFile> theirs = SafetensorsFile::Read(golden);
  ASSERT_TRUE(ours) << ours.error().message;
  ASSERT_TRUE(theirs);
  ASSERT_EQ(ours->tensors().size(), theirs->tensors().size());
  for (size_t i = 0; i < ours->tensors().size(); ++i) {
    const TensorView& a = ours->tensors()[i];
    const TensorView& b = theirs->tensors()[i];
    EXPECT_EQ(a.name, b.name);
    EXPECT_EQ(a.Describe(), b.Describe()) << a.name;
    EXPECT_TRUE(std::equal(a.bytes.begin(), a.bytes.end(), b.bytes.begin(), b.bytes.end()))
        << a.name;
  }
  EXPECT_EQ(ours->metadata(), theirs->metadata());
}

TEST(TorchFile, ViewsKeepTheirStridesUntilTheyAreCopied) {
  const Result<TorchFile> file = TorchFile::Open(TorchPath("views.bin"));
  ASSERT_TRUE(file) << file.error().message;
  const auto find = [&](std::string_view name) {
    return *std::find_if(file->tensors().begin(), file->tensors().end(),
                         [&](const TorchTensor& tensor) { return tensor.name == name; });
  };
  EXPECT_TRUE(find("whole").contiguous());
  EXPECT_TRUE(find("rows").contiguous());
  EXPECT_TRUE(find("nothing").contiguous());
  EXPECT_FALSE(find("transposed").contiguous());
  EXPECT_FALSE(find("repeated").contiguous());
  EXPECT_EQ(find("whole").bytes.data(), find("again").bytes.data());
  EXPECT_EQ(find("whole").bytes.data() + 2 * 6 * 4, find("rows").bytes.data());
}

TEST(TorchFile, WhatIsGatheredComesInPieces) {
  const Result<TorchFile> file = TorchFile::Open(TorchPath("views.bin"));
  ASSERT_TRUE(file) << file.error().message;
  for (const TorchTensor& tensor : file->tensors()) {
    if (tensor.name != "large") continue;
    size_t num_pieces = 0, bytes = 0;
    ASSERT_TRUE(ForEachPiece(tensor, [&](std::span<const std::byte> piece) {
      ++num_pieces;
      bytes += piece.size();
      return Status();
    }));
    EXPECT_EQ(num_pieces, 2u);
    EXPECT_EQ(bytes, tensor.num_bytes());

    num_pieces = 0;
    const Status stopped = ForEachPiece(tensor, [&](std::span<const std::byte>) {
      ++num_pieces;
      return Status(Fail(ErrorCode::kResourceExhausted, "full"));
    });
    EXPECT_EQ(num_pieces, 1u);
    ASSERT_FALSE(stopped);
    EXPECT_EQ(stopped.error().message, "full");
  }
}

// What torch.save wrote and a state dict is not.
TEST(TorchFile, RefusesByName) {
  struct Case {
    const char* file;
    ErrorCode code;
    const char* why;
  };
  constexpr Case kCases[] = {
      {"os_system.bin", ErrorCode::kPermission, R"(names "posix.system")"},
      {"os_system.legacy.bin", ErrorCode::kPermission, R"(names "posix.system")"},
      {"nested.bin", ErrorCode::kUnsupported, R"("state_dict" is a dict, not a tensor)"},
      {"list.bin", ErrorCode::kUnsupported, "holds a list, not a dict"},
      {"module.bin", ErrorCode::kPermission, R"(names "torch.nn.modules.linear.Linear")"},
      {"protocol4.bin", ErrorCode::kUnsupported, "pickle protocol 4"},
      {"sparse.bin", ErrorCode::kPermission, R"(names "torch._utils._rebuild_sparse_tensor")"},
      {"complex.bin", ErrorCode::kPermission, R"(names "torch.ComplexFloatStorage")"},
  };
  const TempDir dir;
  for (const Case& c : kCases) {
    const Status converted = ConvertTorchFile(TorchPath(c.file), dir.Path("out"));
    ASSERT_FALSE(converted) << c.file;
    EXPECT_EQ(converted.error().code, c.code) << c.file;
    EXPECT_THAT(converted.error().message, HasSubstr(c.why));
    EXPECT_THAT(converted.error().message, HasSubstr(c.file));
  }
  EXPECT_TRUE(std::filesystem::is_empty(dir.path()));
}

TEST(TorchFile, OtherFiles) {
  const TempDir dir;
  EXPECT_EQ(TorchFile::Open(dir.Path("absent")).error().code, ErrorCode::kNotFound);
  EXPECT_EQ(TorchFile::Open(dir.Write("empty", "")).error().code, ErrorCode::kUnsupported);
  EXPECT_EQ(TorchFile::Open(dir.Write("text", "weights")).error().code, ErrorCode::kUnsupported);
}

// Wherever it is cut it is refused, and no byte beyond the end is read (the sanitizer would say).
TEST_P(TorchGoldens, AreRefusedWhereverTheyAreCut) {
  const auto [name, form] = GetParam();
  const std::string whole = ReadWhole(TorchPath(fmt::format("{}{}.bin", name, form)));
  const TempDir dir;
  for (size_t kept = 0; kept < whole.size(); kept += 1 + kept / 30) {
    EXPECT_FALSE(TorchFile::Open(dir.Write("cut", whole.substr(0, kept)))) << kept;
  }
}

}  // namespace
}  // namespace lorry::formats
