#include "engine/adapter_copier.h"

#include <gtest/gtest.h>

namespace lorry::engine {
namespace {

constexpr size_t kBytes = 10'000;

std::shared_ptr<adapters::AdapterImage> MakeImage(uint8_t number) {
  auto image = std::make_shared<adapters::AdapterImage>();
  image->id.bytes[0] = number;
  image->buffer = *Buffer::Allocate(kBytes);
  image->blob = {image->buffer.data(), kBytes};
  return image;
}

class AdapterCopierTest : public ::testing::Test {
 protected:
  std::vector<AdapterCopied> Wait(size_t count) {
    std::vector<AdapterCopied> all, some;
    while (all.size() < count) {
      done_.WaitFor(std::chrono::seconds(20));
      done_.Drain(some);
      EXPECT_FALSE(some.empty()) << "nothing was copied in 20 s";
      if (some.empty()) break;
      std::move(some.begin(), some.end(), std::back_inserter(all));
    }
    return all;
  }

  Mailbox<AdapterCopied> done_{SIZE_MAX};
  AdapterCopier copier_{[this](AdapterCopied copied) { done_.SendAlways(std::move(copied)); }};
};

TEST_F(AdapterCopierTest, ImagesAreAdoptedAsTheyLieInTheirOrder) {
  std::vector<std::shared_ptr<adapters::AdapterImage>> images;
  for (uint8_t i = 0; i < 3; ++i) {
    images.push_back(MakeImage(i));
    copier_.Copy(images.back(), {});
  }
  auto copied = Wait(3);
  ASSERT_EQ(copied.size(), 3u);
  for (size_t i = 0; i < 3; ++i) {
    EXPECT_EQ(copied[i].id, images[i]->id);
    AdapterCopy& copy = copied[i].copy.value();
    EXPECT_EQ(copy.image, images[i]);
    EXPECT_EQ(copy.num_bytes(), kBytes);
    const std::weak_ptr<adapters::AdapterImage> weak = std::exchange(images[i], nullptr);
    EXPECT_FALSE(weak.expired());
    copier_.Free(std::move(copy));
    const auto limit = std::chrono::steady_clock::now() + std::chrono::seconds(20);
    while (!weak.expired() && std::chrono::steady_clock::now() < limit) std::this_thread::yield();
    EXPECT_TRUE(weak.expired());  // nobody else holds it
  }
}

TEST_F(AdapterCopierTest, MemoryThatItMayTakeLosesItsPagesButNotItsNeighbours) {
  Buffer arena = *Buffer::Allocate(3 * 4096);
  std::memset(arena.data(), 7, arena.num_bytes());
  const auto offset = 4096 - reinterpret_cast<uintptr_t>(arena.data()) % 4096;
  // One whole system page, and a part of the next.
  copier_.Copy(MakeImage(1), {{arena.data() + offset % 4096, 4096 + 100}});
  ASSERT_EQ(Wait(1).size(), 1u);
  EXPECT_EQ(arena.As<uint8_t>()[offset % 4096 + 4096 + 50], 7);
  EXPECT_EQ(arena.As<uint8_t>()[offset % 4096 + 4096 + 200], 7);
}

TEST(AdapterCopierStopTest, DropsWhatHasNotBegun) {
  std::atomic<int> num_copied = 0;
  std::weak_ptr<adapters::AdapterImage> last;
  {
    AdapterCopier copier([&](const AdapterCopied&) {
      ++num_copied;
      std::this_thread::sleep_for(std::chrono::milliseconds(20));
    });
    for (uint8_t i = 0; i < 50; ++i) {
      const auto image = MakeImage(i);
      last = image;
      copier.Copy(image, {});
    }
  }
  EXPECT_LT(num_copied, 50);
  EXPECT_TRUE(last.expired());
}

}  // namespace
}  // namespace lorry::engine
