// Which idle adapters leave a tier when it needs room: those whose absence is expected to cost the
// least, per byte that they give back.
//
// The score of an adapter is  frequency x time to bring it back / bytes, the priority of GDSF
// without its clock (Cherkasova, "Improving WWW proxies performance with Greedy-Dual-Size-Frequency
// caching policy", HPL-98-69). The frequency counts a use as 2^(-age / half-life), ages being
// counted in uses: the CRF value of Lee et al., "LRFU: a spectrum of policies that subsumes the LRU
// and LFU policies", IEEE ToC 50(12), 2001. A half-life of 1 is LRU among equal costs, a long one
// LFU. All scores decay at the same rate, so their order changes only when an adapter is used: a
// score is a constant, kept as a logarithm that grows with the time of the last use.
//
// Uses are remembered after an adapter has left, as the frequency sketch of TinyLFU does (Einziger
// et al., ACM ToS 13(4), 2017), here exactly, for a bounded number of adapters: one that is used
// again and again earns its place although it cannot stay at first.
//
// No half-life suits every traffic: on steady popularity LRU fetches 1.2 to 1.3 times as many bytes
// as LFU, on bursts LFU 1.5 to 2.5 times as many as LRU. So for each of kHalfLivesUses a shadow of
// the tier is kept, ids only, and the policy scores with the half-life whose shadow spent the least
// time on bringing adapters back lately. Choosing between experts by what each lost is LeCaR's
// (Vietri et al., HotStorage 2018); running every candidate beside the real tier is Waldspurger et
// al.'s "Cache modeling and optimization using miniature simulations", ATC 2017, at full size,
// since thousands of ids are little. LRU is among the candidates, so the policy is never much
// worse. Figures: docs/decisions/0006-eviction-score.md.
//
// Owns: uses, costs, pins. Thread: one (that of the tier). Never: looks at a clock or draws random
// numbers: the same calls give the same victims.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <set>
#include <unordered_map>
#include <vector>

#include "base/clock.h"
#include "base/ids.h"

namespace lorry::adapters {

struct EvictionCost {
  size_t bytes = 0;          // what the adapter takes in this tier, its rounding to pages included
  Micros bring_back_us = 0;  // to have it in this tier again: from the tier below or the source
};

class EvictionPolicy {
 public:
  // 1 is LRU, 32768 as good as LFU.
  static constexpr std::array<double, 5> kHalfLivesUses = {1, 64, 512, 4096, 32768};

  // max_remembered: adapters whose uses are known though they are not in the tier, 0.6 kB each; of
  // more, the least recently used are forgotten.
  explicit EvictionPolicy(size_t max_remembered = 8192);
  EvictionPolicy(const EvictionPolicy&) = delete;
  EvictionPolicy& operator=(const EvictionPolicy&) = delete;

  // A request asks for the adapter, in the tier or not: once for each request, before OnInsert.
  void OnUse(const AdapterId& id);

  // The adapter has its room in the tier; who copies or uses it pins it at once. One that was never
  // used counts as used now, so what a restart finds is inserted in the order of its last use.
  void OnInsert(const AdapterId& id, EvictionCost cost);

  // An unpinned adapter of the tier gave its room back. Its uses are remembered.
  void OnRemove(const AdapterId& id);

  // An unpinned adapter, in the tier or not, is gone for good (its file was removed, it failed).
  void Forget(const AdapterId& id);

  // An adapter of the tier stays while it is pinned: by each sequence that uses it, by a copy under
  // way, by the operator. Pins are counted.
  void Pin(const AdapterId& id);
  void Unpin(const AdapterId& id);

  // The first to go; none: all are pinned. The caller evicts and says OnRemove.
  std::optional<AdapterId> Victim() const;
  // Idle adapters that together give at least so many bytes, none of them needlessly, the first to
  // go first; nullopt: all that is idle is less.
  std::optional<std::vector<AdapterId>> Victims(size_t bytes) const;

  size_t resident_bytes() const { return resident_bytes_; }
  size_t idle_bytes() const { return idle_bytes_; }  // not pinned: what Victims can give
  size_t num_resident() const { return num_resident_; }
  size_t num_idle() const { return idle_.size(); }
  size_t num_remembered() const { return absent_.size(); }
  double half_life_uses() const { return kHalfLivesUses[chosen_]; }  // the one scored with now

  // For tests: walks everything.
  void CheckInvariants() const;

 private:
  static constexpr size_t kNumHalfLives = kHalfLivesUses.size();

  struct Entry {
    AdapterId id;
    uint64_t serial = 0;  // order of first sight: between equal scores the older goes
    EvictionCost cost;
    double log2_us_per_byte = 0;
    bool cost_known = false;
    bool used = false;
    bool resident = false;
    int num_pins = 0;
    std::array<double, kNumHalfLives> log2_uses{};  // plus last use / half-life: see the file head
    std::array<bool, kNumHalfLives> in_shadow{};
  };
  struct Ranked {
    double score;
    Entry* entry;
    bool operator<(const Ranked& other) const {
      return score != other.score ? score < other.score : entry->serial < other.entry->serial;
    }
  };
  using Order = std::set<Ranked>;  // the first to go first

  struct Shadow {
    Order order;
    size_t bytes = 0;
    double lost_us = 0;  // spent on bringing back, decayed
  };

  static double Score(const Entry& entry, size_t half_life_idx) {
    return entry.log2_uses[half_life_idx] + entry.log2_us_per_byte;
  }
  static void Move(Order& order, double old_score, Ranked ranked);

  Entry& Remember(const AdapterId& id);
  Entry& Resident(const AdapterId& id);  // CHECKs that it is
  void CountUse(Entry& entry);
  void SetCost(Entry& entry, EvictionCost cost);
  void EnterShadow(size_t half_life_idx, Entry& entry);
  void LeaveShadow(size_t half_life_idx, Entry& entry);
  void LeaveTier(Entry& entry);
  void Erase(Entry& entry);
  void TrimAbsent();
  void ChooseHalfLife();

  const size_t max_remembered_;
  uint64_t now_uses_ = 0;
  uint64_t next_serial_ = 0;
  std::unordered_map<AdapterId, Entry> entries_;
  Order idle_;    // in the tier, no pins; by the chosen half-life
  Order absent_;  // not in the tier; by last use
  std::array<Shadow, kNumHalfLives> shadows_;
  size_t chosen_ = kNumHalfLives / 2;
  size_t num_resident_ = 0;
  size_t resident_bytes_ = 0;
  size_t idle_bytes_ = 0;
  // Room of the shadows: what the tier held when it last gave something up, or has grown to since.
  // It follows a page pool whose share for adapters changes.
  size_t shadow_room_bytes_ = 0;
};

}  // namespace lorry::adapters
