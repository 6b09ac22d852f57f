#include "engine/adapter_copier.h"

#include <gtest/gtest.h>

#include <cstring>

namespace lorry::engine {
namespace {

constexpr size_t kBytes = 10'000;

std::shared_ptr<adapters::AdapterImage> MakeImage(uint8_t number) {
  auto image = std::make_shared<adapters::AdapterImage>();
  image->id.bytes[0] = number;
  image->buffer = *Buffer::Allocate(kBytes);
  std::memset(image->buffer.data(), number, kBytes);
  image->blob = {image->buffer.data(), kBytes};
  image->parts = {{adapters::AdapterPart::Kind::kLoraA, adapters::AdapterPart::Site{2}, 1, 8, 16,
                   0.5f, 64, 2000}};
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
  AdapterCopier copier_{2, [this](AdapterCopied copied) { done_.SendAlways(std::move(copied)); }};
};

TEST_F(AdapterCopierTest, TheCopyStandsAloneAndInOrder) {
  for (uint8_t i = 1; i <= 3; ++i) copier_.Copy(MakeImage(i), {});
  auto copied = Wait(3);
  ASSERT_EQ(copied.size(), 3u);
  for (uint8_t i = 1; i <= 3; ++i) {
    EXPECT_EQ(copied[i - 1].id.bytes[0], i);
    AdapterCopy& copy = copied[i - 1].copy.value();
    EXPECT_EQ(std::memcmp(copy.buffer.data(), MakeImage(i)->blob.data(), kBytes), 0);
    const kernels::LoraPair& pair = copy.weights->Get(1, formats::Projection::kV);
    EXPECT_EQ(pair.a, copy.buffer.data() + 64);  // bound to the copy, not to the image
    copier_.Free(std::move(copy));
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
    AdapterCopier copier(2, [&](const AdapterCopied&) {
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
