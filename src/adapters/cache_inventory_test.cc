#include "adapters/cache_inventory.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <filesystem>
#include <fstream>

#include "adapters/cache_layout.h"
#include "adapters/disk_cache.h"
#include "adapters/registry_file.h"
#include "formats/file_lock.h"
#include "formats/test_files.h"

namespace lorry::adapters {
namespace {

namespace fs = std::filesystem;
using ::testing::ElementsAre;
using ::testing::IsEmpty;

constexpr uint64_t kBase = 5;

AdapterId Id(uint8_t number) { return {{number, 0xab, 0xcd, 0xef}}; }

class CacheInventoryTest : public ::testing::Test {
 protected:
  // An image that `source` held.
  void AddImage(uint8_t number, const std::string& source, int64_t used_s) const {
    AdapterImage image;
    image.id = Id(number);
    image.max_rank = number;
    image.num_modules = 1;
    image.buffer = *Buffer::Allocate(64);
    image.blob = {image.buffer.data(), 64};
    const std::string dir = fmt::format("{}/{:016x}", ImagesDir(dir_.path()), kBase);
    fs::create_directories(dir);
    const std::string path = fmt::format("{}/{}", dir, ImageFileName({image.id, kBase}));
    ASSERT_TRUE(WriteImageFile(image, kBase, path));
    const timespec times[2] = {{used_s, 0}, {used_s, 0}};
    ASSERT_EQ(::utimensat(AT_FDCWD, path.c_str(), times, 0), 0);
    Change([&](RegistryContent& content) {
      content.sources[SourceKey(*ParseSourceUri(source))] = {.revision = "r1", .id = image.id};
    });
  }
  // Files as a fetch leaves them.
  std::string AddFiles(const std::string& source) const {
    const std::string dir = StagingDir(dir_.path(), *ParseSourceUri(source));
    fs::create_directories(dir);
    std::ofstream(dir + "/adapter_model.safetensors") << "12345";
    std::ofstream(StagingLockPath(dir)) << source << "\n";
    return dir;
  }
  void Change(const std::function<void(RegistryContent&)>& change) const {
    ASSERT_TRUE(RegistryFile(RegistryPath(dir_.path(), kBase)).Change(change));
  }
  CacheInventory List() const { return ListCache(dir_.path()).value(); }
  std::vector<int> RanksOf(const CacheInventory& inventory) const {
    std::vector<int> ranks;
    for (const CachedImage& image : inventory.images) ranks.push_back(image.info.max_rank);
    return ranks;
  }

  formats::TempDir dir_;
};

TEST_F(CacheInventoryTest, WhatIsNotThereIsEmpty) {
  EXPECT_THAT(ListCache("/no/such/cache")->images, IsEmpty());
  EXPECT_THAT(ListCache("/no/such/cache")->files, IsEmpty());
}

TEST_F(CacheInventoryTest, ListsTheLastUsedFirst) {
  AddImage(1, "hf://org/one", 1000);
  AddImage(2, "s3://bucket/two", 2000);
  Change([](RegistryContent& content) {
    content.adapters.push_back({.name = "team/one", .source = "hf://org/one"});
  });
  AddFiles("https://host/three");
  // Files of other kinds and broken ones are passed over.
  dir_.Write(fmt::format("images/{:016x}/x.image", kBase), "not an image");
  dir_.Write("images/other/y.image", "");
  const CacheInventory inventory = List();
  ASSERT_THAT(RanksOf(inventory), ElementsAre(2, 1));
  EXPECT_EQ(inventory.images[0].info.last_used_s, 2000);
  EXPECT_THAT(inventory.images[0].sources, ElementsAre("s3://bucket/two"));
  EXPECT_THAT(inventory.images[1].names, ElementsAre("team/one"));
  EXPECT_THAT(inventory.images[1].revisions, ElementsAre("r1"));
  ASSERT_EQ(inventory.files.size(), 1u);
  EXPECT_EQ(inventory.files[0].source, "https://host/three");
  EXPECT_EQ(inventory.files[0].num_bytes, 5u);
}

TEST_F(CacheInventoryTest, SelectsByNameIdAndSource) {
  AddImage(1, "hf://org/one", 1000);
  AddImage(2, "https://host/two?key=secret", 2000);
  Change([](RegistryContent& content) {
    content.adapters.push_back({.name = "team/one", .source = "hf://org/one"});
  });
  const CacheInventory all = List();
  EXPECT_THAT(RanksOf(Select(all, "team/one")), ElementsAre(1));
  EXPECT_THAT(RanksOf(Select(all, "hf://org/one")), ElementsAre(1));
  EXPECT_THAT(RanksOf(Select(all, "org/one")), ElementsAre(1));
  EXPECT_THAT(RanksOf(Select(all, Id(1).Hex())), ElementsAre(1));
  EXPECT_THAT(RanksOf(Select(all, Id(2).Hex().substr(0, 8))), ElementsAre(2));
  EXPECT_THAT(RanksOf(Select(all, Id(2).Hex().substr(0, 7))), IsEmpty());
  EXPECT_THAT(RanksOf(Select(all, "https://host/two?key=secret")), ElementsAre(2));
  EXPECT_THAT(RanksOf(Select(all, "https://host/two")), ElementsAre(2));
  EXPECT_THAT(RanksOf(Select(all, "one")), IsEmpty());
}

TEST_F(CacheInventoryTest, RemovesImagesWithWhatIsKnownOfTheirSources) {
  AddImage(1, "hf://org/one", 1000);
  AddImage(2, "hf://org/two", 2000);
  Change([](RegistryContent& content) {
    content.adapters.push_back({.name = "team/one", .source = "hf://org/one"});
  });
  ASSERT_TRUE(SetKept(List().images[1], true));
  ASSERT_TRUE(RemoveFromCache(dir_.path(), Select(List(), "team/one")));
  EXPECT_THAT(RanksOf(List()), ElementsAre(2));
  const auto registry = RegistryFile(RegistryPath(dir_.path(), kBase)).Read();
  EXPECT_EQ(registry->sources.size(), 1u);
  EXPECT_EQ(registry->adapters.size(), 1u) << "names stay";
}

TEST_F(CacheInventoryTest, FilesInUseStay) {
  const std::string dir = AddFiles("https://host/three");
  {
    const auto lock = formats::FileLock::Acquire(StagingLockPath(dir));
    const Status status = RemoveFromCache(dir_.path(), List());
    EXPECT_EQ(status.error().code, ErrorCode::kUnavailable);
    EXPECT_TRUE(fs::exists(dir));
  }
  EXPECT_TRUE(RemoveFromCache(dir_.path(), List()));
  EXPECT_FALSE(fs::exists(dir));
  EXPECT_THAT(List().files, IsEmpty());
}

TEST_F(CacheInventoryTest, KeptImagesAreNoVictims) {
  AddImage(1, "hf://org/one", 1000);
  AddImage(2, "hf://org/two", 2000);
  const size_t num_bytes = List().images[0].info.num_bytes;
  ASSERT_TRUE(SetKept(List().images[1], true));  // the one used first
  auto cache = DiskCache::Open(ImagesDir(dir_.path()), kBase, 2 * num_bytes);
  ASSERT_TRUE(cache);
  ASSERT_TRUE(cache->Reserve(Id(3), num_bytes, 1));
  cache->Abandoned(Id(3));
  EXPECT_THAT(RanksOf(List()), ElementsAre(1));
  EXPECT_FALSE(cache->Reserve(Id(4), 2 * num_bytes, 1)) << "what is kept cannot leave";
  cache->Remove(Id(1));  // as a server does that finds it broken
  EXPECT_THAT(List().images, IsEmpty());
}

TEST_F(CacheInventoryTest, AMarkHoldsWhileAServerRuns) {
  AddImage(1, "hf://org/one", 1000);
  const CachedImage image = List().images[0];
  const size_t num_bytes = image.info.num_bytes;
  auto cache = DiskCache::Open(ImagesDir(dir_.path()), kBase, num_bytes);
  ASSERT_TRUE(SetKept(image, true));
  EXPECT_FALSE(cache->Reserve(Id(3), num_bytes, 1));
  ASSERT_TRUE(SetKept(image, false));
  EXPECT_TRUE(cache->Reserve(Id(3), num_bytes, 1)) << "and no longer";
}

}  // namespace
}  // namespace lorry::adapters
