#include "adapters/load_adapter.h"

#include <gmock/gmock.h>

#include <cstring>

#include "adapters/catalogue_testing.h"
#include "base/testing/source_dir.h"
#include "formats/archive_testing.h"
#include "formats/torch_file_testing.h"

namespace lorry::adapters {
namespace {

namespace fs = std::filesystem;

using ::testing::HasSubstr;
using ::testing::Not;

class LoadAdapterTest : public CatalogueTest {
 protected:
  void SetUp() override {
    Start();
    plain_ = Source("all-linear-r8", "plain");
    const Handle handle = Register("plain", plain_).Get() ? Want("plain").Value() : nullptr;
    expected_ = std::static_pointer_cast<const AdapterImage>(handle);
    ASSERT_NE(expected_, nullptr);
    config_ = formats::ReadWhole(plain_ + "/adapter_config.json");
    weights_ = formats::ReadWhole(plain_ + "/adapter_model.safetensors");
    torch_ = formats::pickle::TorchZipOf(plain_ + "/adapter_model.safetensors");
  }

  // What was loaded from there computes what the directory's adapter computes.
  void ExpectSame(const std::string& source) {
    static int count = 0;
    const std::string name = "n" + std::to_string(count++);
    ASSERT_TRUE(Register(name, source).Get()) << Register(name, source).Get().error().message;
    const auto image = std::static_pointer_cast<const AdapterImage>(Want(name).Value());
    ASSERT_EQ(image->blob.size(), expected_->blob.size());
    EXPECT_EQ(std::memcmp(image->blob.data(), expected_->blob.data(), image->blob.size()), 0);
    // Nothing of the way there is left, locks aside.
    for (const auto& entry : fs::directory_iterator(dir_.Path("cache/staging"))) {
      EXPECT_EQ(entry.path().extension(), ".lock") << entry.path();
    }
  }
  std::string Archive(const std::string& file, formats::TestFormat format,
                      const std::vector<formats::TestEntry>& entries) {
    formats::MakeArchive(dir_.Path(file), format, entries);
    return dir_.Path(file);
  }

  std::string plain_, config_, weights_, torch_;
  std::shared_ptr<const AdapterImage> expected_;
};

TEST_F(LoadAdapterTest, ATorchFileOfADirectory) {
  dir_.Write("torch/adapter_config.json", config_);
  const std::string file = dir_.Write("torch/adapter_model.bin", torch_);
  ExpectSame(dir_.Path("torch"));
  EXPECT_EQ(formats::ReadWhole(file), torch_);
  EXPECT_FALSE(fs::exists(dir_.Path("torch/adapter_model.safetensors")));  // not ours to write
}

TEST_F(LoadAdapterTest, AnArchiveWithTheAdapterInAFolder) {
  using formats::TestFormat;
  const std::vector<formats::TestEntry> entries = {
      {"out/checkpoint-7/adapter_config.json", config_},
      {"out/checkpoint-7/adapter_model.safetensors", weights_},
      {"out/README.md", "# hello"}};
  ExpectSame(Archive("a.tar", TestFormat::kTar, entries));
  ExpectSame(Archive("a.tar.gz", TestFormat::kTarGz, entries));
  ExpectSame(Archive("a.zip", TestFormat::kZip, entries));
}

TEST_F(LoadAdapterTest, ATorchFileInAnArchive) {
  using formats::TestFormat;
  const std::vector<formats::TestEntry> entries = {{"a/adapter_config.json", config_},
                                                   {"a/adapter_model.bin", torch_}};
  ExpectSame(Archive("t.tgz", TestFormat::kTarGz, entries));
  ExpectSame(Archive("t.zip", TestFormat::kZipStored, entries));
}

TEST_F(LoadAdapterTest, AnArchiveOfSeveralSaysWhich) {
  const auto error = Register("two", Archive("two.zip", formats::TestFormat::kZip,
                                             {{"a/adapter_config.json", config_},
                                              {"a/adapter_model.safetensors", weights_},
                                              {"b/adapter_config.json", config_},
                                              {"b/adapter_model.safetensors", weights_}}))
                         .Get()
                         .error();
  EXPECT_THAT(error.message, ::testing::AllOf(HasSubstr("a"), HasSubstr("b")));
}

TEST_F(LoadAdapterTest, APickleWithCodeIsRefusedByItsName) {
  dir_.Write("evil/adapter_config.json", config_);
  dir_.Write("evil/adapter_model.bin",
             formats::ReadWhole(SourcePath("tests/data/torch/os_system.bin")));
  const auto error = Register("evil", dir_.Path("evil")).Get().error();
  EXPECT_EQ(error.code, ErrorCode::kPermission);
  EXPECT_THAT(error.message, HasSubstr("system"));
}

// Whichever part of the way says it.
TEST_F(LoadAdapterTest, ErrorsNameTheSourceOnceAndNoPlaceOfOurs) {
  using formats::TestFormat;
  const std::string unfit = R"({"peft_type": "LORA", "r": 4, "target_modules": ["q_proj"]})";
  dir_.Write("bad/no-config/adapter_model.safetensors", weights_);
  dir_.Write("bad/no-json/adapter_config.json", "{");
  dir_.Write("bad/no-json/adapter_model.safetensors", weights_);
  dir_.Write("bad/unfit/adapter_config.json", unfit);
  dir_.Write("bad/unfit/adapter_model.safetensors", weights_);
  dir_.Write("bad/short/adapter_config.json", config_);
  dir_.Write("bad/short/adapter_model.safetensors", weights_.substr(0, 100));
  dir_.Write("bad/torch/adapter_config.json", config_);
  dir_.Write("bad/torch/adapter_model.bin", torch_.substr(0, 100));
  dir_.Write("bad/unfit-torch/adapter_config.json", unfit);
  dir_.Write("bad/unfit-torch/adapter_model.bin", torch_);
  Archive("bad/empty.zip", TestFormat::kZip, {{"readme", "x"}});
  Archive("bad/unfit.zip", TestFormat::kZip,
          {{"a/adapter_config.json", unfit}, {"a/adapter_model.safetensors", weights_}});
  dir_.Write("bad/none.tar.gz", "no archive");
  size_t num_bad = 0;
  for (const auto& entry : fs::directory_iterator(dir_.Path("bad"))) {
    const std::string source = entry.path().string();
    const auto registered = Register("bad", source).Get();
    ASSERT_FALSE(registered) << source;
    const std::string& message = registered.error().message;
    const std::string before = "adapter `bad` from " + source + ": ";
    ASSERT_TRUE(message.starts_with(before)) << message;
    EXPECT_THAT(message.substr(before.size()), Not(HasSubstr(dir_.path()))) << message;
    ++num_bad;
  }
  EXPECT_EQ(num_bad, 9u);
}

TEST_F(LoadAdapterTest, LimitsComeBeforePacking) {
  catalogue_.reset();
  options_.base.max_rank = 4;
  Restart();
  EXPECT_EQ(Register("r8", Source("all-linear-r8", "r8")).Code(), ErrorCode::kTooLarge);
  catalogue_.reset();
  options_.base.max_rank = 64;
  options_.base.max_image_bytes = 100;
  Restart();
  const auto error = Register("r8", Source("all-linear-r8", "r8")).Get().error();
  EXPECT_EQ(error.code, ErrorCode::kTooLarge);
  EXPECT_THAT(error.message, HasSubstr("--kv-memory"));
}

}  // namespace
}  // namespace lorry::adapters
