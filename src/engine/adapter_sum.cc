#include "engine/adapter_sum.h"

#include <algorithm>
#include <tuple>

#include "adapters/adapter_image.h"
#include "base/check.h"
#include "engine/adapter_copier.h"
#include "model/forward_batch.h"

namespace lorry::engine {

static_assert(kMaxAdapterTerms <= model::kMaxAdaptersPerRow);

std::vector<SummedAdapter> SumOf(std::span<const AdapterTerm> terms) {
  std::vector<SummedAdapter> sum;
  sum.reserve(terms.size());
  for (const AdapterTerm& term : terms) {
    CHECK(term.handle != nullptr);
    sum.push_back({ImageOf(term.handle), term.weight});
  }
  // By weight too: rounding depends on the order in which weights are added.
  std::sort(sum.begin(), sum.end(), [](const SummedAdapter& a, const SummedAdapter& b) {
    return std::tie(a.image->id, a.weight) < std::tie(b.image->id, b.weight);
  });
  size_t num_distinct = 0;
  for (SummedAdapter& part : sum) {
    if (num_distinct > 0 && sum[num_distinct - 1].image->id == part.image->id) {
      sum[num_distinct - 1].weight += part.weight;
    } else if (SummedAdapter& next = sum[num_distinct++]; &next != &part) {
      next = std::move(part);
    }
  }
  sum.resize(num_distinct);
  std::erase_if(sum, [](const SummedAdapter& part) { return part.weight == 0; });
  return sum;
}

Status CheckSum(std::span<const AdapterTerm> terms) {
  if (terms.empty() || (terms.size() == 1 && terms[0].weight == 1)) return {};
  const std::vector<SummedAdapter> sum = SumOf(terms);
  if (sum.size() == 1 && sum[0].weight == 1) return {};
  for (const SummedAdapter& part : sum) {
    const char* reason = part.image->weights->WhyNotComposable();
    if (reason == nullptr) continue;
    const auto term = std::find_if(terms.begin(), terms.end(), [&](const AdapterTerm& candidate) {
      return candidate.handle->id == part.image->id;
    });
    return Fail(ErrorCode::kInvalidArgument,
                fmt::format("The adapter `{}` can only be used alone and with weight 1: {}.",
                            term->name, reason),
                "model");
  }
  return {};
}

int VocabSize(std::span<const SummedAdapter> sum, const model::ModelSpec& base) {
  // One that has its own stands alone.
  const bool has_own = sum.size() == 1 && sum[0].image->vocab_size != 0;
  return has_own ? sum[0].image->vocab_size : base.vocab_size;
}

int AdapterSums::Take(std::span<const SummedAdapter> sum) {
  if (sum.empty()) return 0;
  Key key;
  key.reserve(sum.size());
  for (const SummedAdapter& part : sum) key.emplace_back(part.image->id, part.weight);
  const auto [entry, is_new] = numbers_.try_emplace(std::move(key));
  Use& use = entry->second;
  ++use.count;
  if (!is_new) return use.number;
  if (free_.empty()) {
    by_number_.push_back(entry);
    return use.number = static_cast<int>(by_number_.size());
  }
  use.number = free_.back();
  free_.pop_back();
  by_number_[use.number - 1] = entry;
  return use.number;
}

void AdapterSums::GiveBack(int number) {
  if (number == 0) return;
  const auto entry = by_number_[number - 1];
  CHECK_LT(0, entry->second.count);
  if (--entry->second.count > 0) return;
  free_.push_back(number);
  numbers_.erase(entry);
}

}  // namespace lorry::engine
