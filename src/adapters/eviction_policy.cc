#include "adapters/eviction_policy.h"

#include <algorithm>
#include <cmath>

#include "base/check.h"

namespace lorry::adapters {
namespace {

// What a shadow lost is forgotten with this half-life: the misses of a thousand uses decide, and a
// change of the traffic is answered within about as many uses.
const double kLossDecay = std::exp2(-1.0 / 1000);
// Another half-life must have lost so much less, and is asked so often: choosing re-sorts the idle.
constexpr double kChangeBelow = 0.98;
constexpr uint64_t kUsesBetweenChoices = 64;

// log2(2^a + 2^b)
double Log2Sum(double a, double b) {
  const double high = std::max(a, b);
  return high + std::log2(1 + std::exp2(std::min(a, b) - high));
}

}  // namespace

EvictionPolicy::EvictionPolicy(size_t max_remembered)
    : max_remembered_(std::max<size_t>(max_remembered, 1)) {}

void EvictionPolicy::OnUse(const AdapterId& id) {
  Entry& entry = Remember(id);
  CountUse(entry);
  TrimAbsent();
  for (size_t i = 0; i < kNumHalfLives; ++i) {
    shadows_[i].lost_us *= kLossDecay;
    if (!entry.cost_known || entry.in_shadow[i]) continue;
    shadows_[i].lost_us += static_cast<double>(entry.cost.bring_back_us);
    EnterShadow(i, entry);
  }
  if (now_uses_ % kUsesBetweenChoices == 0) ChooseHalfLife();
}

void EvictionPolicy::OnInsert(const AdapterId& id, EvictionCost cost) {
  Entry& entry = Remember(id);
  CHECK_MSG(!entry.resident, "{} is in the tier already", id.Hex());
  const bool first_time = !entry.cost_known;
  if (!entry.used) CountUse(entry);
  SetCost(entry, cost);
  absent_.erase({entry.log2_uses[0], &entry});
  entry.resident = true;
  ++num_resident_;
  resident_bytes_ += cost.bytes;
  idle_bytes_ += cost.bytes;
  shadow_room_bytes_ = std::max(shadow_room_bytes_, resident_bytes_);
  idle_.insert({Score(entry, chosen_), &entry});
  if (!first_time) return;
  // Nobody could have had it: no loss.
  for (size_t i = 0; i < kNumHalfLives; ++i) EnterShadow(i, entry);
}

void EvictionPolicy::OnRemove(const AdapterId& id) {
  Entry& entry = Resident(id);
  shadow_room_bytes_ = resident_bytes_;
  LeaveTier(entry);
  TrimAbsent();
}

void EvictionPolicy::Forget(const AdapterId& id) {
  const auto found = entries_.find(id);
  if (found == entries_.end()) return;
  if (found->second.resident) LeaveTier(found->second);
  Erase(found->second);
}

void EvictionPolicy::Pin(const AdapterId& id) {
  Entry& entry = Resident(id);
  if (entry.num_pins++ > 0) return;
  idle_.erase({Score(entry, chosen_), &entry});
  idle_bytes_ -= entry.cost.bytes;
}

void EvictionPolicy::Unpin(const AdapterId& id) {
  Entry& entry = Resident(id);
  CHECK_MSG(entry.num_pins > 0, "{} is not pinned", id.Hex());
  if (--entry.num_pins > 0) return;
  idle_.insert({Score(entry, chosen_), &entry});
  idle_bytes_ += entry.cost.bytes;
}

std::optional<AdapterId> EvictionPolicy::Victim() const {
  if (idle_.empty()) return std::nullopt;
  return idle_.begin()->entry->id;
}

std::optional<std::vector<AdapterId>> EvictionPolicy::Victims(size_t bytes) const {
  if (idle_bytes_ < bytes) return std::nullopt;
  std::vector<const Entry*> taken;
  size_t taken_bytes = 0;
  for (auto next = idle_.begin(); taken_bytes < bytes; ++next) {
    taken.push_back(next->entry);
    taken_bytes += next->entry->cost.bytes;
  }
  // The last one may be large enough to spare some before it, the most valuable first.
  for (size_t i = taken.size(); i-- > 0;) {
    const size_t its_bytes = taken[i]->cost.bytes;
    if (taken_bytes - its_bytes < bytes) continue;
    taken_bytes -= its_bytes;
    taken.erase(taken.begin() + static_cast<std::ptrdiff_t>(i));
  }
  std::vector<AdapterId> ids;
  ids.reserve(taken.size());
  for (const Entry* entry : taken) ids.push_back(entry->id);
  return ids;
}

void EvictionPolicy::Move(Order& order, double old_score, Ranked ranked) {
  auto node = order.extract({old_score, ranked.entry});
  CHECK(!node.empty());
  node.value() = ranked;
  order.insert(std::move(node));
}

EvictionPolicy::Entry& EvictionPolicy::Remember(const AdapterId& id) {
  const auto [found, added] = entries_.try_emplace(id);
  Entry& entry = found->second;
  if (added) {
    entry.id = id;
    entry.serial = next_serial_++;
    absent_.insert({entry.log2_uses[0], &entry});
  }
  return entry;
}

EvictionPolicy::Entry& EvictionPolicy::Resident(const AdapterId& id) {
  const auto found = entries_.find(id);
  CHECK_MSG(found != entries_.end() && found->second.resident, "{} is not in the tier", id.Hex());
  return found->second;
}

void EvictionPolicy::CountUse(Entry& entry) {
  ++now_uses_;
  const Entry before = entry;
  for (size_t i = 0; i < kNumHalfLives; ++i) {
    const double use = static_cast<double>(now_uses_) / kHalfLivesUses[i];
    entry.log2_uses[i] = entry.used ? Log2Sum(entry.log2_uses[i], use) : use;
  }
  entry.used = true;
  for (size_t i = 0; i < kNumHalfLives; ++i) {
    if (entry.in_shadow[i]) Move(shadows_[i].order, Score(before, i), {Score(entry, i), &entry});
  }
  if (!entry.resident) {
    Move(absent_, before.log2_uses[0], {entry.log2_uses[0], &entry});
  } else if (entry.num_pins == 0) {
    Move(idle_, Score(before, chosen_), {Score(entry, chosen_), &entry});
  }
}

// Of an adapter outside the tier.
void EvictionPolicy::SetCost(Entry& entry, EvictionCost cost) {
  const std::array<bool, kNumHalfLives> in_shadow = entry.in_shadow;
  for (size_t i = 0; i < kNumHalfLives; ++i) {
    if (in_shadow[i]) LeaveShadow(i, entry);
  }
  entry.cost = cost;
  entry.cost_known = true;
  entry.log2_us_per_byte = std::log2(static_cast<double>(std::max<Micros>(cost.bring_back_us, 1)) /
                                     static_cast<double>(std::max<size_t>(cost.bytes, 1)));
  for (size_t i = 0; i < kNumHalfLives; ++i) {
    if (in_shadow[i]) EnterShadow(i, entry);
  }
}

void EvictionPolicy::EnterShadow(size_t half_life_idx, Entry& entry) {
  Shadow& shadow = shadows_[half_life_idx];
  while (!shadow.order.empty() && shadow.bytes + entry.cost.bytes > shadow_room_bytes_) {
    LeaveShadow(half_life_idx, *shadow.order.begin()->entry);
  }
  shadow.order.insert({Score(entry, half_life_idx), &entry});
  shadow.bytes += entry.cost.bytes;
  entry.in_shadow[half_life_idx] = true;
}

void EvictionPolicy::LeaveShadow(size_t half_life_idx, Entry& entry) {
  shadows_[half_life_idx].order.erase({Score(entry, half_life_idx), &entry});
  shadows_[half_life_idx].bytes -= entry.cost.bytes;
  entry.in_shadow[half_life_idx] = false;
}

void EvictionPolicy::LeaveTier(Entry& entry) {
  CHECK_MSG(entry.num_pins == 0, "{} is pinned {} times", entry.id.Hex(), entry.num_pins);
  idle_.erase({Score(entry, chosen_), &entry});
  entry.resident = false;
  --num_resident_;
  resident_bytes_ -= entry.cost.bytes;
  idle_bytes_ -= entry.cost.bytes;
  absent_.insert({entry.log2_uses[0], &entry});
}

// Of an adapter outside the tier.
void EvictionPolicy::Erase(Entry& entry) {
  for (size_t i = 0; i < kNumHalfLives; ++i) {
    if (entry.in_shadow[i]) LeaveShadow(i, entry);
  }
  absent_.erase({entry.log2_uses[0], &entry});
  entries_.erase(AdapterId(entry.id));
}

void EvictionPolicy::TrimAbsent() {
  while (absent_.size() > max_remembered_) Erase(*absent_.begin()->entry);
}

void EvictionPolicy::ChooseHalfLife() {
  const auto best =
      std::min_element(shadows_.begin(), shadows_.end(),
                       [](const Shadow& a, const Shadow& b) { return a.lost_us < b.lost_us; });
  if (best->lost_us >= kChangeBelow * shadows_[chosen_].lost_us) return;
  chosen_ = static_cast<size_t>(best - shadows_.begin());
  Order sorted;
  while (!idle_.empty()) {
    auto node = idle_.extract(idle_.begin());
    node.value().score = Score(*node.value().entry, chosen_);
    sorted.insert(std::move(node));
  }
  idle_ = std::move(sorted);
}

void EvictionPolicy::CheckInvariants() const {
  size_t resident_bytes = 0, idle_bytes = 0, num_resident = 0, num_idle = 0, num_absent = 0;
  std::array<size_t, kNumHalfLives> shadow_bytes{}, num_in_shadow{};
  for (const auto& [id, entry] : entries_) {
    Entry* key = const_cast<Entry*>(&entry);
    CHECK(id == entry.id);
    CHECK(entry.resident || entry.num_pins == 0);
    const bool idle = entry.resident && entry.num_pins == 0;
    CHECK_EQ(idle_.contains({Score(entry, chosen_), key}), idle);
    CHECK_EQ(absent_.contains({entry.log2_uses[0], key}), !entry.resident);
    num_resident += entry.resident;
    num_idle += idle;
    num_absent += !entry.resident;
    resident_bytes += entry.resident ? entry.cost.bytes : 0;
    idle_bytes += idle ? entry.cost.bytes : 0;
    for (size_t i = 0; i < kNumHalfLives; ++i) {
      CHECK_EQ(shadows_[i].order.contains({Score(entry, i), key}), entry.in_shadow[i]);
      shadow_bytes[i] += entry.in_shadow[i] ? entry.cost.bytes : 0;
      num_in_shadow[i] += entry.in_shadow[i];
    }
  }
  CHECK_EQ(num_resident, num_resident_);
  CHECK_EQ(num_idle, idle_.size());
  CHECK_EQ(num_absent, absent_.size());
  CHECK_LE(num_absent, max_remembered_);
  CHECK_EQ(resident_bytes, resident_bytes_);
  CHECK_EQ(idle_bytes, idle_bytes_);
  for (size_t i = 0; i < kNumHalfLives; ++i) {
    CHECK_EQ(shadow_bytes[i], shadows_[i].bytes);
    CHECK_EQ(num_in_shadow[i], shadows_[i].order.size());
  }
}

}  // namespace lorry::adapters
