#include "formats/safetensors.h"

#include <gmock/gmock.h>

#include <cstdlib>

#include "formats/test_files.h"

namespace lorry::formats {
namespace {

using ::testing::HasSubstr;

TEST(SafetensorsTest, ReadsTensorsAndMetadata) {
  TempDir dir;
  const std::string header =
      R"({"__metadata__":{"format":"pt"},"b":{"dtype":"F32","shape":[2],"data_offsets":[2,10]},)"
      R"("a":{"dtype":"BF16","shape":[],"data_offsets":[0,2]},"e":{"dtype":"I64","shape":[3,0],"data_offsets":[10,10]}}  )";
  const auto file = SafetensorsFile::Read(
      dir.Write("x", RawSafetensors(header, "\x80\x3f" + FloatBytes({1, 2}))));
  ASSERT_TRUE(file.has_value()) << file.error().message;
  ASSERT_EQ(file->tensors().size(), 3u);
  EXPECT_EQ(file->metadata().at("format"), "pt");
  const TensorView* b = file->Find("b");
  ASSERT_NE(b, nullptr);
  EXPECT_EQ(b->shape, std::vector<int64_t>{2});
  std::vector<float> values(2);
  ConvertToF32(*b, values);
  EXPECT_EQ(values, (std::vector<float>{1, 2}));
  EXPECT_EQ(file->Find("a")->num_elements(), 1);
  EXPECT_EQ(file->Find("e")->num_elements(), 0);
  EXPECT_EQ(file->Find("c"), nullptr);
}

struct BadFile {
  std::string what;
  std::string content;
  std::string message;  // part of it
};

// One tensor "t" whose three fields are given as JSON, over `data_bytes` bytes of data.
BadFile BadTensor(std::string what, std::string fields, size_t data_bytes, std::string message) {
  return {std::move(what), RawSafetensors("{\"t\":{" + fields + "}}", std::string(data_bytes, 'x')),
          std::move(message)};
}

std::string WithLength(uint64_t header_bytes, std::string_view rest) {
  std::string file(8, '\0');
  std::memcpy(file.data(), &header_bytes, 8);
  return file.append(rest);
}

std::vector<BadFile> BadFiles() {
  const std::string f32 = R"("dtype":"F32",)";
  const std::string one = R"({"dtype":"F32","shape":[1],"data_offsets":[0,4]})";
  return {
      {"empty file", "", "is empty"},
      {"shorter than the length", "abc", "too short"},
      {"length beyond the file", WithLength(100, "{}"), "truncated"},
      {"length beyond the limit", WithLength(100'000'001, "{}"), "limit"},
      {"length of 2^64 - 1", WithLength(~uint64_t{0}, "{}"), "limit"},
      {"length of 2^63", WithLength(uint64_t{1} << 63, "{}"), "limit"},
      {"header of no bytes", RawSafetensors("", ""), "zeros where it begins"},
      {"header that begins with a space", RawSafetensors(" {}", ""), "begin with"},
      {"header that is a list", RawSafetensors("[]", ""), "begin with"},
      {"header cut off", RawSafetensors("{\"t\":", ""), "JSON"},
      {"header with text after it", RawSafetensors("{}x", ""), "JSON"},
      {"header that is not UTF-8", RawSafetensors("{\"\xff\":1}", ""), "JSON"},
      {"header nested too deep", RawSafetensors("{\"t\":[[[[[[]]]]]]}", ""), "deeper"},
      {"metadata that is no object", RawSafetensors(R"({"__metadata__":[]})", ""), "__metadata__"},
      {"metadata that is no text", RawSafetensors(R"({"__metadata__":{"a":1}})", ""),
       "__metadata__"},
      {"tensor that is no object", RawSafetensors(R"({"t":3})", ""), "\"t\""},
      {"name twice", RawSafetensors("{\"t\":" + one + ",\"t\":" + one + "}", "1234"), "twice"},
      BadTensor("no dtype", R"("shape":[1],"data_offsets":[0,4])", 4, "\"dtype\" is missing"),
      BadTensor("no shape", f32 + R"("data_offsets":[0,4])", 4, "\"shape\" is missing"),
      BadTensor("no offsets", f32 + R"("shape":[1])", 4, "\"data_offsets\" is missing"),
      BadTensor("unknown dtype", R"("dtype":"F3","shape":[1],"data_offsets":[0,4])", 4, "F3"),
      BadTensor("dtype that is a number", R"("dtype":4,"shape":[1],"data_offsets":[0,4])", 4,
                "dtype"),
      BadTensor("shape that is a number", f32 + R"("shape":1,"data_offsets":[0,4])", 4, "shape"),
      BadTensor("negative shape", f32 + R"("shape":[-1],"data_offsets":[0,4])", 4, "negative"),
      BadTensor("fractional shape", f32 + R"("shape":[1.5],"data_offsets":[0,4])", 4, "integer"),
      BadTensor("shape product over 64 bits",
                f32 + R"("shape":[4294967296,4294967296,4294967296],"data_offsets":[0,4])", 4,
                "does not fit"),
      BadTensor("shape product that wraps to 4",
                f32 + R"("shape":[4611686018427387905],"data_offsets":[0,4])", 4, "does not fit"),
      BadTensor("dimension over int64",
                f32 + R"("shape":[18446744073709551615],"data_offsets":[0,4])", 4, "too large"),
      BadTensor("shape smaller than the data", f32 + R"("shape":[1],"data_offsets":[0,8])", 8,
                "does not fit"),
      BadTensor("one offset", f32 + R"("shape":[1],"data_offsets":[0])", 4, "[begin, end]"),
      BadTensor("three offsets", f32 + R"("shape":[1],"data_offsets":[0,4,8])", 4, "[begin, end]"),
      BadTensor("offsets reversed", f32 + R"("shape":[1],"data_offsets":[4,0])", 4, "[begin, end]"),
      BadTensor("negative offset", f32 + R"("shape":[1],"data_offsets":[-4,0])", 4, "negative"),
      BadTensor("offset beyond the file", f32 + R"("shape":[2],"data_offsets":[0,8])", 4,
                "ends at 8"),
      BadTensor("offset near 2^63",
                f32 + R"("shape":[1],"data_offsets":[9223372036854775803,9223372036854775807])", 4,
                "ends at"),
      BadTensor("data before the tensor", f32 + R"("shape":[1],"data_offsets":[4,8])", 8,
                "begins at 4"),
      BadTensor("data after the tensor", f32 + R"("shape":[1],"data_offsets":[0,4])", 8, "cover 4"),
      {"overlap",
       RawSafetensors("{\"a\":" + one + R"(,"b":{"dtype":"F32","shape":[1],"data_offsets":[2,6]}})",
                      "123456"),
       "begins at 2"},
      {"same bytes twice", RawSafetensors("{\"a\":" + one + ",\"b\":" + one + "}", "1234"),
       "begins at 0"},
      {"hole",
       RawSafetensors(
           "{\"a\":" + one + R"(,"b":{"dtype":"F32","shape":[1],"data_offsets":[8,12]}})",
           std::string(12, 'x')),
       "begins at 8"},
      {"data but no tensors", RawSafetensors("{}", "1234"), "cover 0"},
  };
}

TEST(SafetensorsTest, RefusesHostileHeaders) {
  TempDir dir;
  for (const BadFile& bad : BadFiles()) {
    const auto file = SafetensorsFile::Read(dir.Write("bad.safetensors", bad.content));
    ASSERT_FALSE(file.has_value()) << bad.what;
    EXPECT_THAT(file.error().message, HasSubstr("bad.safetensors")) << bad.what;
    EXPECT_THAT(file.error().message, HasSubstr(bad.message)) << bad.what;
  }
}

TEST(SafetensorsTest, EveryTruncationIsAnError) {
  TempDir dir;
  const std::string whole =
      MakeSafetensors({{"a", "F32", "[2]", FloatBytes({1, 2})}, {"b", "BF16", "[1]", "xy"}});
  ASSERT_TRUE(SafetensorsFile::Read(dir.Write("whole", whole)).has_value());
  for (size_t size = 0; size < whole.size(); ++size) {
    EXPECT_FALSE(SafetensorsFile::Read(dir.Write("cut", whole.substr(0, size))).has_value())
        << size;
  }
}

// A path inside the outside test data; empty where there is none.
std::string TestDataPath(std::string_view name) {
  const char* root = std::getenv("LORRY_TEST_DATA");
  return root == nullptr || *root == '\0' ? "" : fmt::format("{}/{}", root, name);
}

TEST(SafetensorsTest, RealFiles) {
  const std::string folder = TestDataPath("safetensors");
  if (folder.empty()) GTEST_SKIP() << "LORRY_TEST_DATA is not set";
  const auto test = SafetensorsFile::Read(folder + "/test.safetensors");
  ASSERT_TRUE(test.has_value()) << test.error().message;
  EXPECT_FALSE(test->tensors().empty());
  const auto gptq = SafetensorsFile::Read(folder + "/gptq_small.safetensors");
  ASSERT_TRUE(gptq.has_value()) << gptq.error().message;
  bool has_i32 = false, has_f16 = false;
  for (const TensorView& tensor : gptq->tensors()) {
    has_i32 |= tensor.dtype == DType::kI32;
    has_f16 |= tensor.dtype == DType::kF16;
  }
  EXPECT_TRUE(has_i32 && has_f16);
}

}  // namespace
}  // namespace lorry::formats
