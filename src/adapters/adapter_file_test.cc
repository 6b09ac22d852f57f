#include "adapters/adapter_file.h"

#include <gtest/gtest.h>

#include <cstring>
#include <filesystem>
#include <fstream>

#include "formats/test_files.h"

namespace lorry::adapters {
namespace {

namespace fs = std::filesystem;

class AdapterFileTest : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = (fs::temp_directory_path() / "lorry-file-XXXXXX").string();
    ASSERT_NE(mkdtemp(pattern.data()), nullptr);
    dir_ = pattern;
    image_.id.bytes[3] = 7;
    image_.max_rank = 8;
    image_.num_modules = 1;
    image_.weight_bytes = 5000;
    image_.buffer = *Buffer::Allocate(5056);
    image_.blob = {image_.buffer.data(), 5056};
    for (int i = 0; i < 5056; ++i) image_.buffer.As<uint8_t>()[i] = static_cast<uint8_t>(i * 31);
    image_.parts = {{AdapterPart::Kind::kLoraA, AdapterPart::Site{2}, 1, 8, 16, 0.5f, 0, 2000},
                    {AdapterPart::Kind::kLoraB, AdapterPart::Site{2}, 1, 8, 16, 0.5f, 2048, 3000}};
    image_.text = {kTokenizer, kConfig, {{9}}};
    path_ = dir_ / ImageFileName(key_);
  }
  void TearDown() override { fs::remove_all(dir_); }

  ErrorCode CodeOf() const {
    const auto opened = OpenImageFile(path_, key_, 2);
    return opened ? ErrorCode::kCancelled : opened.error().code;  // kCancelled: it opened
  }

  static constexpr std::string_view kTokenizer = R"({"a":1})", kConfig = R"({"bc":23})";
  fs::path dir_, path_;
  AdapterImage image_;
  const ImageKey key_ = {.id = {{0, 0, 0, 7}}, .base = 99};
};

TEST_F(AdapterFileTest, ComesBackAsItWas) {
  ASSERT_TRUE(WriteImageFile(image_, key_.base, path_));
  const auto opened = OpenImageFile(path_, key_, 2);
  ASSERT_TRUE(opened) << opened.error().message;
  const AdapterImage& image = **opened;
  EXPECT_EQ(image.id, image_.id);
  EXPECT_EQ(image.max_rank, 8);
  EXPECT_EQ(image.num_modules, 1);
  EXPECT_EQ(image.weight_bytes, 5000u);
  ASSERT_EQ(image.blob.size(), image_.blob.size());
  EXPECT_EQ(std::memcmp(image.blob.data(), image_.blob.data(), image.blob.size()), 0);
  EXPECT_EQ(reinterpret_cast<uintptr_t>(image.blob.data()) % 64, 0u);
  const kernels::LoraPair& pair = image.weights->Get(1, formats::Projection::kV);
  EXPECT_EQ(pair.a, image.blob.data());
  EXPECT_EQ(pair.b, image.blob.data() + 2048);
  EXPECT_EQ(pair.rank, 8);
  EXPECT_EQ(pair.scale, 0.5f);
  EXPECT_EQ(image.weights->Get(0, formats::Projection::kV).rank, 0);
  EXPECT_EQ(image.text.tokenizer_json, kTokenizer);
  EXPECT_EQ(image.text.config_json, kConfig);
  EXPECT_EQ(image.text.id, image_.text.id);
  EXPECT_EQ(image.host_bytes(), 5056 + kTokenizer.size() + kConfig.size());
}

TEST_F(AdapterFileTest, AnyChangedByteIsFound) {
  ASSERT_TRUE(WriteImageFile(image_, key_.base, path_));
  std::ifstream in(path_, std::ios::binary);
  const std::string good((std::istreambuf_iterator<char>(in)), {});
  const auto write = [&](const std::string& bytes) {
    std::ofstream(path_, std::ios::binary | std::ios::trunc) << bytes;
  };
  // Every byte of the header, the parts and the texts, some of the blob; padding is nobody's.
  constexpr size_t kPartsEnd = 104 + 2 * sizeof(AdapterPart);
  const size_t text_begin = good.size() - kTokenizer.size() - kConfig.size();
  for (size_t at = 0; at < good.size(); at += at < kPartsEnd || at >= text_begin ? 1 : 97) {
    if (at >= kPartsEnd && at < 4096) continue;
    std::string bad = good;
    bad[at] ^= 0x10;
    write(bad);
    EXPECT_EQ(CodeOf(), ErrorCode::kDataLoss) << "byte " << at;
  }
  for (const size_t size : {size_t{0}, size_t{10}, size_t{80}, size_t{4096}, good.size() - 1}) {
    write(good.substr(0, size));
    EXPECT_EQ(CodeOf(), ErrorCode::kDataLoss) << size << " bytes";
  }
  write(good + "x");
  EXPECT_EQ(CodeOf(), ErrorCode::kDataLoss);
  write(good);
  EXPECT_EQ(CodeOf(), ErrorCode::kCancelled);
}

// Of the header's words: a blob of a TiB, which the file has as a hole.
TEST_F(AdapterFileTest, AFileLargerThanAnAdapterCanBeIsNotRead) {
  ASSERT_TRUE(WriteImageFile(image_, key_.base, path_));
  constexpr uint64_t kHole = uint64_t{1} << 40;
  const uint64_t blob_bytes = image_.blob.size() + kHole;
  std::fstream(path_, std::ios::binary | std::ios::in | std::ios::out)
      .seekp(56)
      .write(reinterpret_cast<const char*>(&blob_bytes), sizeof(blob_bytes));
  fs::resize_file(path_, fs::file_size(path_) + kHole);
  EXPECT_EQ(ReadImageFileInfo(path_).value().num_bytes, fs::file_size(path_));
  const auto opened = OpenImageFile(path_, key_, 2, uint64_t{1} << 30);
  ASSERT_FALSE(opened);
  EXPECT_EQ(opened.error().code, ErrorCode::kDataLoss);
}

TEST_F(AdapterFileTest, AnotherBaseOrAdapterIsRefused) {
  ASSERT_TRUE(WriteImageFile(image_, key_.base, path_));
  EXPECT_FALSE(OpenImageFile(path_, {key_.id, key_.base + 1}, 2));
  EXPECT_FALSE(OpenImageFile(path_, {AdapterId{{1}}, key_.base}, 2));
  EXPECT_FALSE(OpenImageFile(path_, key_, 1));  // its layer 1 does not exist there
}

TEST_F(AdapterFileTest, LeavesNothingBehindWhereItCannotWrite) {
  const fs::path nowhere = dir_ / "no" / "such" / "directory.image";
  EXPECT_FALSE(WriteImageFile(image_, key_.base, nowhere));
  EXPECT_TRUE(fs::is_empty(dir_));
}

uint64_t FingerprintOf(const model::ModelSpec& spec,
                       const std::vector<formats::TestTensor>& tensors) {
  formats::TempDir dir;
  dir.Write("model.safetensors", formats::MakeSafetensors(tensors));
  return BaseFingerprint(spec, formats::Checkpoint::Open(dir.path()).value()).value();
}

TEST(BaseFingerprintTest, TellsBasesOfOneShapeApart) {
  model::ModelSpec spec = {.family = "llama", .vocab_size = 8, .hidden = 64};
  const std::string weights(size_t{64} << 10, 'w');
  const std::vector<formats::TestTensor> base = {{"a", "F32", "[128, 128]", weights},
                                                 {"b", "F32", "[2]", formats::FloatBytes({1, 2})}};
  const uint64_t fingerprint = FingerprintOf(spec, base);
  EXPECT_EQ(FingerprintOf(spec, base), fingerprint);

  auto trained = base;
  for (char& byte : trained[0].data) byte ^= 1;
  EXPECT_NE(FingerprintOf(spec, trained), fingerprint);
  auto one_norm = base;
  one_norm[1].data = formats::FloatBytes({1, 3});  // a small tensor is read whole
  EXPECT_NE(FingerprintOf(spec, one_norm), fingerprint);
  auto renamed = base;
  renamed[1].name = "c";
  EXPECT_NE(FingerprintOf(spec, renamed), fingerprint);
  spec.dtype = DType::kF32;
  EXPECT_NE(FingerprintOf(spec, base), fingerprint);
}

}  // namespace
}  // namespace lorry::adapters
