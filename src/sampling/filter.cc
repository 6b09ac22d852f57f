#include "sampling/filter.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <functional>
#include <numbers>

#include "base/check.h"

namespace lorry::sampling {
namespace {

constexpr float kMinusInf = -std::numeric_limits<float>::infinity();
constexpr int kGuesses[] = {128, 1024};  // of how many tokens hold top_p of the weight
constexpr ptrdiff_t kSortAtMost = 32;

bool IsBetter(const Candidate& a, const Candidate& b) {
  return a.logit > b.logit || (a.logit == b.logit && a.id < b.id);
}

float ScaleOf(float temperature) {
  return static_cast<float>(std::numbers::log2e / static_cast<double>(temperature));
}

double Sum(std::span<const Candidate> candidates) {
  double sum = 0;
  for (const Candidate& candidate : candidates) sum += candidate.weight;
  return sum;
}

}  // namespace

RowFilter::RowFilter(int max_vocab_size) {
  const auto max_blocks = static_cast<size_t>(NumBlocks(max_vocab_size));
  block_max_.reserve(max_blocks);
  block_sum_.reserve(max_blocks);
  selection_.reserve(max_blocks);
}

void RowFilter::Take(std::span<const float> logits) {
  logits_ = logits.data();
  vocab_size_ = static_cast<int>(logits.size());
  block_max_.resize(static_cast<size_t>(NumBlocks(vocab_size_)));
  block_sum_.resize(block_max_.size());
  SelectedRowScan().block_max(logits_, vocab_size_, block_max_.data());
  max_ = *std::ranges::max_element(block_max_);
}

TokenId RowFilter::Best() const {
  const auto block = std::ranges::find(block_max_, max_) - block_max_.begin();
  const int begin = static_cast<int>(block) * kBlockTokens;
  const int end = std::min(begin + kBlockTokens, vocab_size_);
  const float* best = std::find(logits_ + begin, logits_ + end, max_);
  return best == logits_ + end
             ? 0
             : static_cast<TokenId>(best - logits_);  // the end: all of the row is NaN
}

TokenId RowFilter::Draw(const FilterParams& params, double u) {
  CHECK(std::isfinite(max_));
  scale_ = {max_, ScaleOf(params.temperature)};
  const bool unfiltered =
      params.min_p <= 0 && params.top_p >= 1 && (params.top_k <= 0 || params.top_k >= vocab_size_);
  return unfiltered ? DrawAmongAll(u) : DrawAmong(FindCut(params), u);
}

Cut RowFilter::FindCut(const FilterParams& params) {
  Cut cut;
  const double top_p = std::max(0.0f, params.top_p);
  const bool has_min_p = params.min_p > 0;
  const bool has_top_k = params.top_k > 0 && params.top_k < vocab_size_;
  if (has_min_p) {  // weight >= min_p
    cut.logit = static_cast<float>(max_ + params.temperature *
                                              std::log(std::min(1.0, double{params.min_p})));
  }
  double mass = 0;
  if (has_top_k) {
    cut.logit = std::max(cut.logit, Threshold(params.top_k));
    mass = Gather(cut);
    const size_t num_kept = static_cast<size_t>(params.top_k);
    if (candidates_.size() > num_kept) {
      const auto last = candidates_.begin() + params.top_k - 1;
      std::nth_element(candidates_.begin(), last, candidates_.end(), IsBetter);
      cut = {last->logit, last->id};
      candidates_.resize(num_kept);
      mass = Sum(candidates_);
    }
  } else if (params.top_p < 1) {
    if (!has_min_p) return CutTopPOfAll(top_p);
    mass = Gather(cut);
  }
  return params.top_p < 1 ? CutTopP(candidates_, top_p * mass) : cut;
}

// The best candidates that together weigh at least `mass`. Halves the part in which the last of
// them must be.
Cut RowFilter::CutTopP(std::span<Candidate> candidates, double mass) const {
  auto begin = candidates.begin();
  auto end = candidates.end();
  while (end - begin > kSortAtMost) {
    const auto middle = begin + (end - begin) / 2;
    std::nth_element(begin, middle, end, IsBetter);
    const double upper = Sum({begin, middle});
    if (upper >= mass) {
      end = middle;
    } else {
      mass -= upper;
      begin = middle;
    }
  }
  std::sort(begin, end, IsBetter);
  auto last = begin;
  while (last + 1 < end && last->weight < mass) {
    mass -= last->weight;
    ++last;
  }
  return {last->logit, last->id};
}

Cut RowFilter::CutTopPOfAll(double top_p) {
  const double mass = top_p * SumWeights();
  for (const int num_tokens : kGuesses) {  // most often a few tokens have it all
    const float threshold = Threshold(num_tokens);
    if (threshold == kMinusInf) break;
    if (Gather({.logit = threshold}) >= mass) return CutTopP(candidates_, mass);
  }
  return CutWideTopP(mass);
}

// For flat rows: sorts into buckets by logit (by weight, eight to each factor of two), then looks
// at one bucket only.
Cut RowFilter::CutWideTopP(double mass) {
  constexpr float kBucketsPerOctave = 8;
  std::array<double, static_cast<size_t>(kBucketsPerOctave) * 128> bucket_mass = {};
  const auto bucket_of = [this](float logit) {
    return static_cast<size_t>((max_ - logit) * scale_.scale * kBucketsPerOctave);
  };
  for (int id = 0; id < vocab_size_; ++id) {
    const float weight = Weight(logits_[id], scale_);
    if (weight > 0) bucket_mass[bucket_of(logits_[id])] += weight;
  }
  size_t bucket = 0;
  while (bucket < bucket_mass.size() && bucket_mass[bucket] < mass) mass -= bucket_mass[bucket++];
  candidates_.clear();
  for (int id = 0; id < vocab_size_; ++id) {
    const float weight = Weight(logits_[id], scale_);
    if (weight > 0 && bucket_of(logits_[id]) == bucket) {
      candidates_.push_back({logits_[id], weight, id});
    }
  }
  return candidates_.empty() ? Cut{}
                             : CutTopP(candidates_, mass);  // empty: rounding went past the last
}

TokenId RowFilter::DrawAmongAll(double u) {
  double rest = u * SumWeights();
  size_t block = 0;
  size_t last_block = 0;  // the last with any weight: rounding may leave a rest after it
  for (; block < block_sum_.size(); ++block) {
    if (block_sum_[block] <= 0) continue;
    last_block = block;
    if (rest < block_sum_[block]) break;
    rest -= block_sum_[block];
  }
  if (block == block_sum_.size()) rest = std::numeric_limits<double>::infinity();
  const int begin = static_cast<int>(last_block) * kBlockTokens;
  const int end = std::min(begin + kBlockTokens, vocab_size_);
  TokenId drawn = begin;
  for (int id = begin; id < end; ++id) {
    const float weight = Weight(logits_[id], scale_);
    if (weight <= 0) continue;
    drawn = id;
    if (rest < weight) break;
    rest -= weight;
  }
  return drawn;
}

TokenId RowFilter::DrawAmong(const Cut& cut, double u) {
  double rest = u * Gather(cut);
  for (const Candidate& candidate : candidates_) {
    if (rest < candidate.weight) return candidate.id;
    rest -= candidate.weight;
  }
  return std::ranges::min(candidates_, IsBetter).id;  // rounding left a rest: the best one
}

double RowFilter::Gather(const Cut& cut) {
  candidates_.clear();
  double sum = 0;
  for (size_t block = 0; block < block_max_.size(); ++block) {
    if (!(block_max_[block] >= cut.logit)) continue;
    const int begin = static_cast<int>(block) * kBlockTokens;
    const int end = std::min(begin + kBlockTokens, vocab_size_);
    for (int id = begin; id < end; ++id) {
      const float logit = logits_[id];
      if (!(logit > cut.logit || (logit == cut.logit && id <= cut.last_id))) continue;
      if (logit == kMinusInf) continue;
      candidates_.push_back({logit, Weight(logit, scale_), id});
      sum += candidates_.back().weight;
    }
  }
  return sum;
}

float RowFilter::Threshold(int num_tokens) {
  if (num_tokens >= static_cast<int>(block_max_.size())) return kMinusInf;
  selection_.assign(block_max_.begin(), block_max_.end());
  const auto nth = selection_.begin() + num_tokens - 1;
  std::nth_element(selection_.begin(), nth, selection_.end(), std::greater<>());
  return *nth;
}

double RowFilter::SumWeights() {
  SelectedRowScan().block_weight(logits_, vocab_size_, scale_, block_sum_.data());
  double sum = 0;
  for (const float block : block_sum_) sum += block;
  return sum;
}

std::span<const Candidate> RowFilter::Top(int num_best) {
  if (num_best <= 0) return {};
  scale_ = {max_, ScaleOf(1.0f)};
  Gather({.logit = Threshold(num_best)});
  const auto num_kept = std::min(candidates_.size(), static_cast<size_t>(num_best));
  std::partial_sort(candidates_.begin(), candidates_.begin() + static_cast<ptrdiff_t>(num_kept),
                    candidates_.end(), IsBetter);
  return {candidates_.data(), num_kept};
}

double RowFilter::LogSum() {
  CHECK(std::isfinite(max_));
  scale_ = {max_, ScaleOf(1.0f)};
  return std::log(SumWeights());
}

}  // namespace lorry::sampling
