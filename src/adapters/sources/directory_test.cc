#include "adapters/sources/directory.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <chrono>
#include <filesystem>
#include <fstream>

#include "formats/adapter_files.h"

namespace lorry::adapters {
namespace {

class DirectoryTest : public testing::Test {
 protected:
  void SetUp() override {
    dir_ = testing::TempDir() + "/source_" + std::to_string(getpid());
    std::filesystem::create_directories(dir_);
    request_.uri = {.kind = SourceKind::kDirectory, .text = dir_, .location = dir_};
  }
  void TearDown() override { std::filesystem::remove_all(dir_); }

  void Write(const std::string& name, const std::string& content) {
    const std::filesystem::path path = dir_ + "/" + name;
    std::filesystem::create_directories(path.parent_path());
    std::ofstream(path) << content;
  }

  std::string dir_;
  FetchRequest request_;
  SourceOptions options_;
};

TEST_F(DirectoryTest, IsUsedWhereItIs) {
  Write("adapter_config.json", "{}");
  Write("adapter_model.safetensors", "weights");
  Write("notes.txt", "not counted");
  const auto fetched = Fetch(request_, options_);
  ASSERT_TRUE(fetched.has_value()) << fetched.error().message;
  EXPECT_EQ(fetched->dir, dir_);
  EXPECT_EQ(fetched->bytes, 9u);
  EXPECT_TRUE(fetched->archive.empty());

  request_.known_revision = fetched->revision;
  EXPECT_TRUE(Fetch(request_, options_)->unchanged);
  Write("notes.txt", "still not counted");
  EXPECT_TRUE(Fetch(request_, options_)->unchanged);
  Write("tokenizer.json", "{}");
  EXPECT_FALSE(Fetch(request_, options_)->unchanged);
}

TEST_F(DirectoryTest, EveryFileOfAnAdapterCountsInItsRevision) {
  Write("adapter_config.json", "{}");
  Write("adapter_model.safetensors", "weights");
  for (const std::string_view name : formats::AdapterFileNames()) {
    for (const std::string content : {"", "more"}) {
      const std::string before = Fetch(request_, options_)->revision;
      Write(std::string(name), content);
      EXPECT_NE(Fetch(request_, options_)->revision, before) << name;
    }
  }
}

TEST_F(DirectoryTest, AnArchiveIsOneFile) {
  Write("a.tar.gz", "bytes");
  request_.uri.location = dir_ + "/a.tar.gz";
  const auto fetched = Fetch(request_, options_);
  ASSERT_TRUE(fetched.has_value()) << fetched.error().message;
  EXPECT_EQ(fetched->dir, dir_);
  EXPECT_EQ(fetched->archive, "a.tar.gz");
  EXPECT_EQ(fetched->bytes, 5u);
}

TEST_F(DirectoryTest, WhatIsMissingIsNamed) {
  auto fetched = Fetch(request_, options_);
  ASSERT_FALSE(fetched.has_value());
  EXPECT_EQ(fetched.error().code, ErrorCode::kNotFound);
  EXPECT_NE(fetched.error().message.find("adapter_config.json"), std::string::npos);

  Write("adapter_config.json", "{}");
  fetched = Fetch(request_, options_);
  ASSERT_FALSE(fetched.has_value());
  EXPECT_NE(fetched.error().message.find("adapter_model.safetensors"), std::string::npos);

  request_.uri.location = dir_ + "/nowhere";
  EXPECT_EQ(Fetch(request_, options_).error().code, ErrorCode::kNotFound);
  request_.uri.location = dir_ + "/adapter_config.json";
  EXPECT_EQ(Fetch(request_, options_).error().code, ErrorCode::kInvalidArgument);
}

// Not an adapter without that file: another one than was meant.
TEST_F(DirectoryTest, ALinkToNothingIsNoMissingFile) {
  Write("adapter_config.json", "{}");
  Write("adapter_model.safetensors", "weights");
  for (const std::string name : {"adapter_model.safetensors", "tokenizer.json"}) {
    const std::string path = dir_ + "/" + name;
    std::filesystem::remove(path);
    std::filesystem::create_symlink("/no/such/blob", path);
    const auto fetched = Fetch(request_, options_);
    ASSERT_FALSE(fetched.has_value()) << name;
    EXPECT_EQ(fetched.error().code, ErrorCode::kUnfit);
    EXPECT_EQ(fetched.error().message, path + ": a link to nothing (/no/such/blob)");
    std::filesystem::remove(path);
    Write(name, "{}");
  }
  EXPECT_TRUE(Fetch(request_, options_).has_value());
}

TEST_F(DirectoryTest, WhatElseLiesThereIsNotListed) {
  Write("adapter_config.json", "{}");
  Write("adapter_model.bin", "weights");
  for (int i = 0; i < 20'000; ++i) Write("step" + std::to_string(i), "");
  const auto begin = std::chrono::steady_clock::now();
  for (int i = 0; i < 100; ++i) ASSERT_TRUE(Fetch(request_, options_));
  EXPECT_LT(std::chrono::steady_clock::now() - begin, std::chrono::seconds(2));
}

TEST_F(DirectoryTest, WhatCannotBeLookedAtIsAnErrorOfTheSource) {
  request_.uri.location = dir_ + "/loop";
  std::filesystem::create_symlink("loop", dir_ + "/loop");
  EXPECT_EQ(Fetch(request_, options_).error().code, ErrorCode::kUnfit);
  request_.uri.location = dir_ + "/" + std::string(5'000, 'x');
  EXPECT_EQ(Fetch(request_, options_).error().code, ErrorCode::kSourceFailed);
  request_.uri.location = dir_ + "/pipe";
  ASSERT_EQ(::mkfifo(request_.uri.location.c_str(), 0600), 0);
  EXPECT_EQ(Fetch(request_, options_).error().code, ErrorCode::kInvalidArgument);
}

// Two writes within one tick of the file system's clock.
TEST_F(DirectoryTest, AWriteAfterItWasLookedAtMakesAnotherRevision) {
  Write("adapter_config.json", "{}");
  for (int i = 0; i < 50; ++i) {
    Write("adapter_model.safetensors", "one");
    const auto first = Fetch(request_, options_);
    ASSERT_TRUE(first);
    Write("adapter_model.safetensors", "two");
    ASSERT_NE(Fetch(request_, options_)->revision, first->revision) << i;
  }
}

TEST_F(DirectoryTest, TooLargeIsRefused) {
  Write("adapter_config.json", "{}");
  Write("adapter_model.bin", std::string(1000, 'x'));
  options_.max_bytes = 1001;
  const auto fetched = Fetch(request_, options_);
  ASSERT_FALSE(fetched.has_value());
  EXPECT_EQ(fetched.error().code, ErrorCode::kTooLarge);
}

}  // namespace
}  // namespace lorry::adapters
