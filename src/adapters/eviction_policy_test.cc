#include "adapters/eviction_policy.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <random>

namespace lorry::adapters {
namespace {

AdapterId Id(int number) {
  AdapterId id;
  id.bytes[0] = static_cast<uint8_t>(number);
  id.bytes[1] = static_cast<uint8_t>(number >> 8);
  id.bytes[15] = 1;
  return id;
}

using Ids = std::vector<AdapterId>;

void UseAndInsert(EvictionPolicy& policy, int number, EvictionCost cost = {10, 10}) {
  policy.OnUse(Id(number));
  policy.OnInsert(Id(number), cost);
}

TEST(EvictionPolicyTest, FrequencyThenRecencyDecide) {
  EvictionPolicy policy;
  EXPECT_EQ(policy.Victim(), std::nullopt);
  for (const int number : {1, 2, 3}) UseAndInsert(policy, number);
  EXPECT_EQ(policy.Victim(), Id(1)) << "the least recently used of equals";
  policy.OnUse(Id(1));
  EXPECT_EQ(policy.Victim(), Id(2));
  policy.OnUse(Id(2));
  policy.OnUse(Id(2));
  policy.OnUse(Id(3));
  EXPECT_EQ(policy.Victims(30), (Ids{Id(1), Id(3), Id(2)}));
  policy.CheckInvariants();
}

TEST(EvictionPolicyTest, WhatCostsLessPerByteGoesFirst) {
  EvictionPolicy policy;
  UseAndInsert(policy, 1, {.bytes = 10, .bring_back_us = 10'000});  // from far away
  UseAndInsert(policy, 2, {.bytes = 10, .bring_back_us = 10});
  UseAndInsert(policy, 3, {.bytes = 100, .bring_back_us = 1000});
  UseAndInsert(policy, 4, {.bytes = 0, .bring_back_us = 0});
  EXPECT_EQ(policy.Victims(110), (Ids{Id(2), Id(3)}));
}

TEST(EvictionPolicyTest, PinnedAdaptersStay) {
  EvictionPolicy policy;
  for (const int number : {1, 2}) UseAndInsert(policy, number);
  policy.Pin(Id(1));
  policy.Pin(Id(1));
  EXPECT_EQ(policy.Victim(), Id(2));
  EXPECT_EQ(policy.Victims(11), std::nullopt);
  policy.Unpin(Id(1));
  EXPECT_EQ(policy.Victims(11), std::nullopt) << "pins are counted";
  EXPECT_EQ(policy.idle_bytes(), 10u);
  policy.OnUse(Id(1));
  policy.Unpin(Id(1));
  EXPECT_EQ(policy.Victims(11), (Ids{Id(2), Id(1)}));
  policy.CheckInvariants();
}

TEST(EvictionPolicyTest, NobodyGoesNeedlessly) {
  EvictionPolicy policy;
  UseAndInsert(policy, 1, {5, 5});
  UseAndInsert(policy, 2, {10, 10});
  UseAndInsert(policy, 3, {100, 100});
  EXPECT_EQ(policy.Victims(0), Ids{});
  EXPECT_EQ(policy.Victims(12), (Ids{Id(1), Id(2)}));
  EXPECT_EQ(policy.Victims(102), (Ids{Id(1), Id(3)})) << "2 is worth more than 1";
  EXPECT_EQ(policy.Victims(60), Ids{Id(3)});
}

TEST(EvictionPolicyTest, UsesAreRememberedUntilForgotten) {
  EvictionPolicy policy;
  for (const int number : {1, 2}) UseAndInsert(policy, number);
  for (int i = 0; i < 4; ++i) policy.OnUse(Id(1));
  policy.OnRemove(Id(1));
  for (int i = 0; i < 2; ++i) policy.OnUse(Id(2));
  policy.OnInsert(Id(1), {10, 10});
  EXPECT_EQ(policy.Victim(), Id(2)) << "three uses against five";
  policy.Forget(Id(1));
  policy.Forget(Id(77));
  EXPECT_EQ(policy.num_resident(), 1u);
  EXPECT_EQ(policy.num_remembered(), 0u);
  UseAndInsert(policy, 1);
  EXPECT_EQ(policy.Victim(), Id(1));
  policy.CheckInvariants();
}

TEST(EvictionPolicyTest, WhatARestartFindsGoesInItsOrder) {
  EvictionPolicy policy;
  for (const int number : {7, 3, 5}) policy.OnInsert(Id(number), {10, 10});
  EXPECT_EQ(policy.Victims(30), (Ids{Id(7), Id(3), Id(5)}));
}

TEST(EvictionPolicyTest, RemembersSoMany) {
  EvictionPolicy policy(100);
  for (int i = 0; i < 50; ++i) policy.OnInsert(Id(i), {10, 10});
  for (int i = 0; i < 50; i += 2) policy.OnRemove(Id(i));
  for (int i = 50; i < 5000; ++i) policy.OnUse(Id(i));
  EXPECT_EQ(policy.num_remembered(), 100u);
  EXPECT_EQ(policy.num_resident(), 25u) << "those in the tier are not forgotten";
  policy.CheckInvariants();
}

// Everything at random beside a plain model, invariants after every operation.
class Model {
 public:
  explicit Model(unsigned seed) : random_(seed) {}

  void Step() {
    const int number = Draw(60);
    const auto found = pins_.find(number);
    const bool resident = found != pins_.end();
    switch (Draw(7)) {
      case 0:
      case 1:
        policy_.OnUse(Id(number));
        break;
      case 2:
        if (resident) break;
        if (Draw(10) == 0) cost_[number] = {};
        if (cost_[number].bytes == 0) cost_[number] = {size_t(1 + Draw(50)), 1 + Draw(90)};
        policy_.OnInsert(Id(number), cost_[number]);
        pins_[number] = 0;
        break;
      case 3:
        if (!resident) break;
        policy_.Pin(Id(number));
        ++found->second;
        break;
      case 4:
        if (!resident || found->second == 0) break;
        policy_.Unpin(Id(number));
        --found->second;
        break;
      case 5:
        if ((resident && found->second > 0) || Draw(4) > 0) break;
        policy_.Forget(Id(number));
        pins_.erase(number);
        break;
      case 6:
        EvictFor(Draw(400));
        break;
    }
    policy_.CheckInvariants();
  }

 private:
  int Draw(int below) { return static_cast<int>(random_() % below); }

  void EvictFor(size_t bytes) {
    size_t idle_bytes = 0, given_bytes = 0;
    for (const auto& [number, num_pins] : pins_) {
      if (num_pins == 0) idle_bytes += cost_[number].bytes;
    }
    EXPECT_EQ(policy_.idle_bytes(), idle_bytes);
    const auto victims = policy_.Victims(bytes);
    ASSERT_EQ(victims.has_value(), idle_bytes >= bytes);
    if (!victims) return;
    size_t smallest_bytes = 1000;
    for (const AdapterId& id : *victims) {
      const int number = id.bytes[0];
      ASSERT_EQ(pins_.at(number), 0);
      given_bytes += cost_[number].bytes;
      smallest_bytes = std::min(smallest_bytes, cost_[number].bytes);
      pins_.erase(number);
      policy_.OnRemove(id);
    }
    EXPECT_GE(given_bytes, bytes);
    EXPECT_TRUE(victims->empty() || given_bytes - smallest_bytes < bytes) << "one goes needlessly";
  }

  std::mt19937 random_;
  EvictionPolicy policy_{30};
  std::map<int, int> pins_;  // of those in the tier
  std::map<int, EvictionCost> cost_;
};

TEST(EvictionPolicyTest, AccountingAddsUpWhateverHappens) {
  for (unsigned seed = 0; seed < 4; ++seed) {
    Model model(seed);
    for (int i = 0; i < 3000 && !::testing::Test::HasFatalFailure(); ++i) model.Step();
  }
}

// 20 adapters fit and are used in turn, then 20 others, each of them often enough to be worth it.
TEST(EvictionPolicyTest, NewcomersAreNotStarvedByThePast) {
  EvictionPolicy policy;
  std::map<int, bool> resident;
  const auto use = [&](int number) {
    policy.OnUse(Id(number));
    if (std::exchange(resident[number], true)) return true;
    if (policy.resident_bytes() == 200) {
      const AdapterId victim = *policy.Victim();
      resident[victim.bytes[0]] = false;
      policy.OnRemove(victim);
    }
    policy.OnInsert(Id(number), {10, 10});
    return false;
  };
  for (int i = 0; i < 20'000; ++i) use(i % 20);
  EXPECT_TRUE(use(0));
  int num_misses = 0;
  for (int i = 0; i < 4000; ++i) num_misses += !use(20 + i % 20);
  EXPECT_LE(num_misses, 200) << "each of the old had been used a thousand times";
  for (int i = 0; i < 20; ++i) EXPECT_TRUE(use(20 + i));
}

}  // namespace
}  // namespace lorry::adapters
