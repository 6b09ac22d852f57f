#include "adapters/disk_cache.h"

#include <gtest/gtest.h>

#include <atomic>
#include <filesystem>
#include <fstream>
#include <thread>

#include "formats/test_files.h"

namespace lorry::adapters {
namespace {

namespace fs = std::filesystem;

constexpr uint64_t kBase = 5;

AdapterId IdOf(uint8_t number) { return {{number}}; }

class DiskCacheTest : public ::testing::Test {
 protected:
  DiskCache Open(size_t max_bytes = 1000) {
    return std::move(DiskCache::Open(dir_.path(), kBase, max_bytes).value());
  }
  // As a loader does.
  static bool Write(DiskCache& cache, uint8_t number, size_t num_bytes = 100) {
    if (!cache.Reserve(IdOf(number), num_bytes, 1000)) return false;
    std::ofstream(cache.PathOf(IdOf(number))) << std::string(num_bytes, 'x');
    cache.Written(IdOf(number));
    return true;
  }
  size_t NumFiles() const {
    size_t count = 0;
    for (const auto& entry : fs::recursive_directory_iterator(dir_.path())) {
      count += entry.is_regular_file();
    }
    return count;
  }

  formats::TempDir dir_;
};

TEST_F(DiskCacheTest, HoldsWhatIsWholeOnly) {
  DiskCache cache = Open();
  ASSERT_TRUE(cache.Reserve(IdOf(1), 100, 1));
  EXPECT_FALSE(cache.Contains(IdOf(1)));
  EXPECT_FALSE(cache.Reserve(IdOf(1), 100, 1));  // is being written
  cache.Written(IdOf(1));
  EXPECT_TRUE(cache.Contains(IdOf(1)));
  EXPECT_FALSE(cache.Reserve(IdOf(1), 100, 1));  // is there
  ASSERT_TRUE(cache.Reserve(IdOf(2), 100, 1));
  cache.Abandoned(IdOf(2));
  EXPECT_FALSE(cache.Contains(IdOf(2)));
  EXPECT_EQ(cache.stats().num_bytes, 100u);
  EXPECT_EQ(cache.stats().num_files, 1u);
}

TEST_F(DiskCacheTest, MakesRoomButNotOfWhatIsReadOrWritten) {
  DiskCache cache = Open(300);
  for (uint8_t i = 1; i <= 3; ++i) ASSERT_TRUE(Write(cache, i));
  cache.Pin(IdOf(1));
  for (int i = 0; i < 5; ++i) cache.OnUse(IdOf(3));
  ASSERT_TRUE(Write(cache, 4));
  EXPECT_TRUE(cache.Contains(IdOf(1)));
  EXPECT_FALSE(cache.Contains(IdOf(2)));  // idle, and used least
  EXPECT_FALSE(fs::exists(cache.PathOf(IdOf(2))));
  EXPECT_EQ(cache.stats().num_evicted, 1u);
  EXPECT_FALSE(Write(cache, 5, 250));  // 1 is read: less than that may leave
  EXPECT_FALSE(Write(cache, 6, 301));  // can never fit
  EXPECT_EQ(cache.stats().num_bytes, 300u);
  cache.Unpin(IdOf(1));
  EXPECT_TRUE(Write(cache, 5, 250));
  EXPECT_LE(cache.stats().num_bytes, 300u);
  EXPECT_EQ(NumFiles(), cache.stats().num_files);
}

TEST_F(DiskCacheTest, WhatIsBrokenLeavesWhenItsLastReaderHas) {
  DiskCache cache = Open();
  ASSERT_TRUE(Write(cache, 1));
  cache.Pin(IdOf(1));
  cache.Pin(IdOf(1));
  cache.Remove(IdOf(1));
  cache.Remove(IdOf(1));
  EXPECT_FALSE(cache.Contains(IdOf(1)));
  EXPECT_FALSE(cache.Reserve(IdOf(1), 100, 1));  // not while it is read
  cache.Unpin(IdOf(1));
  EXPECT_TRUE(fs::exists(cache.PathOf(IdOf(1))));
  cache.Unpin(IdOf(1));
  EXPECT_FALSE(fs::exists(cache.PathOf(IdOf(1))));
  EXPECT_EQ(cache.stats().num_bytes, 0u);
  EXPECT_TRUE(Write(cache, 1));
}

TEST_F(DiskCacheTest, ARestartFindsWhatIsWholeAndLeavesStrangersAlone) {
  std::string dir;
  {
    DiskCache cache = Open();
    ASSERT_TRUE(Write(cache, 1));
    ASSERT_TRUE(Write(cache, 2, 200));
    dir = fs::path(cache.PathOf(IdOf(1))).parent_path();
  }
  std::ofstream(dir + "/notes.txt") << "somebody's";
  std::ofstream(dir + "/" + IdOf(3).Hex() + "-0000000000000006.image") << "of another base";
  std::ofstream(dir + "/" + ImageFileName({IdOf(4), kBase}) + ".999999-0.part") << "half";
  std::ofstream(dir + "/" + ImageFileName({IdOf(5), kBase}));  // empty
  fs::create_directory(dir + "/" + ImageFileName({IdOf(6), kBase}));
  DiskCache cache = Open();
  EXPECT_TRUE(cache.Contains(IdOf(1)) && cache.Contains(IdOf(2)));
  for (uint8_t i = 3; i <= 6; ++i) EXPECT_FALSE(cache.Contains(IdOf(i))) << int{i};
  EXPECT_EQ(cache.stats().num_bytes, 300u);
  EXPECT_TRUE(fs::exists(dir + "/notes.txt"));
  EXPECT_FALSE(fs::exists(dir + "/" + ImageFileName({IdOf(4), kBase}) + ".999999-0.part"));
}

TEST_F(DiskCacheTest, ASmallerLimitKeepsWhatWasUsedLast) {
  {
    DiskCache cache = Open();
    for (uint8_t i = 1; i <= 4; ++i) {
      ASSERT_TRUE(Write(cache, i));
      fs::last_write_time(cache.PathOf(IdOf(i)),
                          fs::file_time_type::clock::now() - std::chrono::hours(i == 2 ? 0 : i));
    }
  }
  DiskCache cache = Open(200);
  EXPECT_TRUE(cache.Contains(IdOf(1)) && cache.Contains(IdOf(2)));
  EXPECT_EQ(NumFiles(), 2u);
}

TEST_F(DiskCacheTest, FilesMayVanishWhileItLooks) {
  constexpr uint8_t kNumFiles = 50;
  DiskCache cache = Open(10'000);
  std::atomic<bool> is_over = false;
  std::thread other([&] {  // comes and goes, as another process's files do
    for (int round = 0; round < 50; ++round) {
      for (uint8_t i = 1; i <= kNumFiles; ++i) {
        std::ofstream(cache.PathOf(IdOf(i))) << std::string(100, 'x');
      }
      std::error_code error;
      for (uint8_t i = 1; i <= kNumFiles; ++i) fs::remove(cache.PathOf(IdOf(i)), error);
    }
    is_over = true;
  });
  while (!is_over) {
    const DiskCacheStats stats = Open(10'000).stats();
    EXPECT_LE(stats.num_bytes, kNumFiles * 100u);
    EXPECT_EQ(stats.num_evicted, 0u);
  }
  other.join();
}

TEST_F(DiskCacheTest, WithoutRoomItTouchesNothing) {
  DiskCache cache = Open(0);
  EXPECT_FALSE(cache.Reserve(IdOf(1), 1, 1));
  EXPECT_TRUE(fs::is_empty(dir_.path()));
}

}  // namespace
}  // namespace lorry::adapters
