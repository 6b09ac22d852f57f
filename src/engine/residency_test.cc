#include "engine/residency.h"

#include <gtest/gtest.h>

#include <deque>
#include <random>
#include <set>

#include "engine/fake_step_model.h"

namespace lorry::engine {
namespace {

using Answer = Residency::Answer;

// A pool of 256-byte pages and copies that arrive when the test says so. Adapter i has i % 3 + 1
// pages.
class ResidencyTest : public ::testing::Test {
 protected:
  void Make(int num_pages, ResidencyOptions options) {
    pool_.emplace(*PagePool::Create(256, num_pages));
    residency_.emplace(
        &*pool_, options,
        [this](Residency::Image image, std::vector<std::span<std::byte>>) {
          if (is_at_once_) return true;
          copying_.push_back(std::move(image));
          return false;
        },
        [this](AdapterCopy) { ++num_freed_; });
  }

  Answer Want(int adapter) {
    Answer answer = Answer::kNoRoom;
    for (bool again = true; again && answer == Answer::kNoRoom;) {
      residency_->BeginWants();
      answer = residency_->Want(FakeAdapter(adapter));
      again = residency_->EndWants();
    }
    residency_->CheckInvariants();
    return answer;
  }

  void Arrive(bool is_good = true) {
    const auto image = copying_.front();
    copying_.pop_front();
    AdapterCopied copied = {image->id, Fail(ErrorCode::kResourceExhausted, "no memory")};
    if (is_good) {
      copied.copy = AdapterCopy{image};
    }
    EXPECT_EQ(residency_->OnCopied(std::move(copied)).has_value(), !is_good);
    residency_->CheckInvariants();
  }

  void Load(int adapter) {
    ASSERT_EQ(Want(adapter), Answer::kLoading);
    Arrive();
    ASSERT_EQ(Want(adapter), Answer::kResident);
    residency_->BeginWants();
    residency_->EndWants();
  }

  static AdapterId Id(int adapter) { return FakeAdapter(adapter)->id; }

  std::optional<PagePool> pool_;
  std::optional<Residency> residency_;
  std::deque<Residency::Image> copying_;
  bool is_at_once_ = false;  // nothing has to be copied
  int num_freed_ = 0;
};

TEST_F(ResidencyTest, LoadsOnceAndStays) {
  Make(10, {.kv_floor_pages = 4});
  EXPECT_EQ(Want(0), Answer::kLoading);
  EXPECT_EQ(Want(0), Answer::kLoading);
  EXPECT_EQ(copying_.size(), 1u);
  Arrive();
  EXPECT_EQ(Want(0), Answer::kResident);
  EXPECT_EQ(pool_->num_lent(), 1);
}

TEST_F(ResidencyTest, WhatNeedsNoCopyIsThereAtOnce) {
  Make(6, {.kv_floor_pages = 3});
  is_at_once_ = true;
  EXPECT_EQ(Want(2), Answer::kResident);  // three pages
  EXPECT_EQ(Want(0), Answer::kResident);  // the other one leaves
  EXPECT_EQ(pool_->num_lent(), 1);
  EXPECT_EQ(residency_->stats().num_loads, 2u);
  EXPECT_EQ(num_freed_, 1);
  EXPECT_TRUE(copying_.empty());
}

TEST_F(ResidencyTest, IdleOnesMakeRoomForOthers) {
  Make(10, {.kv_floor_pages = 4});  // 6 for adapters
  Load(2);                          // 3 pages
  Load(5);                          // 3 pages
  residency_->Enter(Id(2));
  Load(8);  // 3 pages: 5 has to leave, 2 is in use
  EXPECT_TRUE(residency_->IsResident(Id(2)));
  EXPECT_FALSE(residency_->IsResident(Id(5)));
  EXPECT_EQ(num_freed_, 1);
  residency_->Enter(Id(8));
  EXPECT_EQ(Want(1), Answer::kNoRoom);
  residency_->Leave(Id(8));
  EXPECT_EQ(Want(1), Answer::kLoading);
  EXPECT_FALSE(residency_->IsResident(Id(8)));
}

TEST_F(ResidencyTest, WhatIsWantedStaysUntilNobodyWantsIt) {
  Make(10, {.kv_floor_pages = 4});
  Load(2);
  Load(5);
  residency_->BeginWants();
  EXPECT_EQ(residency_->Want(FakeAdapter(2)), Answer::kResident);
  EXPECT_EQ(residency_->Want(FakeAdapter(5)), Answer::kResident);
  EXPECT_EQ(residency_->Want(FakeAdapter(8)), Answer::kNoRoom);
  residency_->EndWants();
  EXPECT_EQ(residency_->num_evictable_pages(), 0);
  EXPECT_FALSE(residency_->EvictForKv());
  EXPECT_EQ(Want(5), Answer::kResident);
  EXPECT_EQ(residency_->num_evictable_pages(), 3);
}

TEST_F(ResidencyTest, TooLargeForThePoolIsSaidAtOnce) {
  Make(10, {.kv_floor_pages = 8});
  EXPECT_EQ(Want(2), Answer::kTooLarge);
  EXPECT_EQ(Want(1), Answer::kLoading);
}

TEST_F(ResidencyTest, KvTakesIdlePagesDownToTheFloor) {
  Make(20, {.kv_floor_pages = 4, .adapter_floor_pages = 3});
  for (int adapter : {0, 1, 2, 3}) Load(adapter);  // 1 + 2 + 3 + 1
  EXPECT_EQ(residency_->num_held_pages(), 3);
  int freed = 0;
  for (int promised = residency_->num_evictable_pages(); freed < promised;) {
    const int before = pool_->num_free();
    ASSERT_TRUE(residency_->EvictForKv());
    freed += pool_->num_free() - before;
    residency_->CheckInvariants();
  }
  EXPECT_GT(freed, 0);
  while (residency_->EvictForKv()) continue;
  EXPECT_GE(pool_->num_lent(), 3);
}

TEST_F(ResidencyTest, PinnedOnesAreBroughtAndNeverLeave) {
  Make(10, {.kv_floor_pages = 4});
  residency_->Pin(FakeAdapter(2));
  EXPECT_TRUE(residency_->has_more_to_load());
  EXPECT_EQ(Want(5), Answer::kLoading);  // begins to load the pinned one too
  Arrive();
  Arrive();
  EXPECT_FALSE(residency_->has_more_to_load());
  Want(0);
  EXPECT_TRUE(residency_->IsResident(Id(2)));
  EXPECT_FALSE(residency_->IsResident(Id(5)));
  residency_->Unpin(Id(2));
  Arrive();
  Want(8);
  EXPECT_FALSE(residency_->IsResident(Id(2)));
}

TEST_F(ResidencyTest, AFailedCopyGivesItsPagesBack) {
  Make(10, {.kv_floor_pages = 4});
  EXPECT_EQ(Want(2), Answer::kLoading);
  EXPECT_EQ(pool_->num_lent(), 3);
  Arrive(false);
  EXPECT_EQ(pool_->num_lent(), 0);
  EXPECT_EQ(Want(2), Answer::kLoading);
}

TEST_F(ResidencyTest, ADroppedOneLeavesWhenItsLastSequenceDoes) {
  Make(10, {.kv_floor_pages = 4});
  Load(2);
  residency_->Enter(Id(2));
  residency_->Drop(Id(2));
  EXPECT_TRUE(residency_->IsResident(Id(2)));
  residency_->Leave(Id(2));
  EXPECT_FALSE(residency_->IsResident(Id(2)));
  EXPECT_EQ(pool_->num_lent(), 0);
  Load(5);
  residency_->Drop(Id(5));
  EXPECT_FALSE(residency_->IsResident(Id(5)));
}

TEST_F(ResidencyTest, RandomUseKeepsTheBooks) {
  std::mt19937 random(3);
  Make(24, {.kv_floor_pages = 6, .adapter_floor_pages = 4});
  std::multiset<int> running;
  std::vector<PageId> kv;
  for (int i = 0; i < 20000; ++i) {
    const int adapter = random() % 12;
    switch (random() % 8) {
      case 0:
      case 1:
        residency_->OnRequest(Id(adapter));
        if (Want(adapter) == Answer::kResident && running.size() < 4) {
          residency_->Enter(Id(adapter));
          running.insert(adapter);
        }
        break;
      case 2:
      case 3:
        if (running.empty()) break;
        residency_->Leave(Id(*running.begin()));
        running.erase(running.begin());
        break;
      case 4:
        if (!copying_.empty()) Arrive(random() % 8 != 0);
        break;
      case 5:
        if (const auto page = pool_->Acquire()) kv.push_back(*page);
        break;
      case 6:
        if (!kv.empty()) {
          pool_->Release(kv.back());
          kv.pop_back();
        }
        break;
      default:
        if (random() % 2 == 0) {
          residency_->EvictForKv();
        } else if (random() % 8 == 0) {
          residency_->Drop(Id(adapter));
        }
    }
    residency_->CheckInvariants();
    for (const int used : running) ASSERT_TRUE(residency_->IsResident(Id(used)));
  }
  EXPECT_GT(residency_->stats().num_evicted_for_adapters, 100u);
  EXPECT_GT(residency_->stats().num_evicted_for_kv, 100u);
}

TEST_F(ResidencyTest, WhatIsDroppedBeforeItCameIsNotPinnedAnyMore) {
  Make(6, {});
  residency_->Pin(FakeAdapter(0));
  residency_->Drop(Id(0));
  residency_->BeginWants();
  residency_->EndWants();
  EXPECT_TRUE(copying_.empty());
  Load(0);  // under another name
  EXPECT_TRUE(residency_->EvictForKv());
  EXPECT_FALSE(residency_->IsResident(Id(0)));
}

}  // namespace
}  // namespace lorry::engine
