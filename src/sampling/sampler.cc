#include "sampling/sampler.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "base/check.h"
#include "base/random.h"

namespace lorry::sampling {
namespace {

constexpr float kGreedyBelow = 1e-5f;  // temperatures that a float cannot divide by sensibly
constexpr float kMinusInf = -std::numeric_limits<float>::infinity();

bool HasPenalties(const SamplingParams& params) {
  return params.repetition_penalty != 1.0f || params.presence_penalty != 0.0f ||
         params.frequency_penalty != 0.0f;
}

}  // namespace

Sampler::Sampler(int vocab_size, int max_rows, int num_threads)
    : vocab_size_(vocab_size), max_rows_(max_rows) {
  const auto size = static_cast<size_t>(vocab_size);
  for (int i = 0; i < num_threads; ++i) {
    scratch_.push_back({std::vector<float>(size), std::vector<int32_t>(size),
                        std::vector<bool>(size), RowFilter(vocab_size)});
  }
}

void Sampler::Sample(const Stream& stream, std::span<const RowInput> rows,
                     std::span<const float* const> logits, std::span<TokenOutput> out) {
  CHECK_LE(rows.size(), static_cast<size_t>(max_rows_));
  CHECK_EQ(rows.size(), logits.size());
  CHECK_EQ(rows.size(), out.size());
  CHECK_LE(static_cast<size_t>(stream.num_threads()), scratch_.size());
  stream.ParallelFor(static_cast<int>(rows.size()), [&](int row_idx, int thread_idx) {
    const auto i = static_cast<size_t>(row_idx);
    Scratch& scratch = scratch_[static_cast<size_t>(thread_idx)];
    out[i] = {.token = SampleRow(rows[i], logits[i], scratch)};
    if (rows[i].params->num_logprobs >= 0) {
      RowLogprobs(logits[i], rows[i].params->num_logprobs, scratch, out[i]);
    }
  });
}

void Sampler::Logprobs(const Stream& stream, std::span<const float* const> logits,
                       std::span<const TokenId> tokens, int num_top, std::span<TokenOutput> out) {
  CHECK_EQ(logits.size(), tokens.size());
  CHECK_EQ(logits.size(), out.size());
  CHECK_LE(static_cast<size_t>(stream.num_threads()), scratch_.size());
  stream.ParallelFor(static_cast<int>(logits.size()), [&](int row_idx, int thread_idx) {
    const auto i = static_cast<size_t>(row_idx);
    CHECK(IsToken(tokens[i]));
    out[i] = {.token = tokens[i]};
    RowLogprobs(logits[i], num_top, scratch_[static_cast<size_t>(thread_idx)], out[i]);
  });
}

TokenId Sampler::SampleRow(const RowInput& row, const float* logits, Scratch& scratch) const {
  const SamplingParams& params = *row.params;
  RowFilter& filter = scratch.filter;
  filter.Take(Adjust(row, logits, scratch));
  // An infinite maximum (the model's overflow, or nothing that is allowed) leaves no distribution
  // to draw from.
  if (params.temperature < kGreedyBelow || !std::isfinite(filter.max())) return filter.Best();
  const double u = UniformAt(params.seed, static_cast<uint32_t>(row.seq_idx), row.output.size());
  return filter.Draw({params.temperature, params.min_p, params.top_k, params.top_p}, u);
}

// The row with biases, penalties and bans: `logits` itself if there are none.
const float* Sampler::Adjust(const RowInput& row, const float* logits, Scratch& scratch) const {
  const SamplingParams& params = *row.params;
  if (params.logit_bias.empty() && row.banned.empty() && !HasPenalties(params)) return logits;
  std::vector<float>& adjusted = scratch.adjusted;
  std::copy_n(logits, vocab_size_, adjusted.begin());
  for (const auto& [token, bias] : params.logit_bias) {
    if (IsToken(token)) adjusted[static_cast<size_t>(token)] += bias;
  }
  if (HasPenalties(params)) ApplyPenalties(row, scratch);
  for (const TokenId token : row.banned) {
    if (IsToken(token)) adjusted[static_cast<size_t>(token)] = kMinusInf;
  }
  return adjusted.data();
}

void Sampler::ApplyPenalties(const RowInput& row, Scratch& scratch) const {
  const SamplingParams& params = *row.params;
  if (params.repetition_penalty != 1.0f) {
    for (const auto tokens : {row.prompt, row.output}) {
      for (const TokenId token : tokens) {
        if (!IsToken(token) || scratch.seen[static_cast<size_t>(token)]) continue;
        scratch.seen[static_cast<size_t>(token)] = true;
        float& logit = scratch.adjusted[static_cast<size_t>(token)];
        logit = logit > 0 ? logit / params.repetition_penalty : logit * params.repetition_penalty;
      }
    }
    for (const auto tokens : {row.prompt, row.output}) {
      for (const TokenId token : tokens) {
        if (IsToken(token)) scratch.seen[static_cast<size_t>(token)] = false;
      }
    }
  }
  for (const TokenId token : row.output) {
    if (IsToken(token)) ++scratch.counts[static_cast<size_t>(token)];
  }
  for (const TokenId token : row.output) {
    if (!IsToken(token)) continue;
    int32_t& count = scratch.counts[static_cast<size_t>(token)];
    if (count == 0) continue;  // done at its first occurrence
    scratch.adjusted[static_cast<size_t>(token)] -=
        params.frequency_penalty * static_cast<float>(count) + params.presence_penalty;
    count = 0;
  }
}

void Sampler::RowLogprobs(const float* logits, int num_top, Scratch& scratch,
                          TokenOutput& out) const {
  RowFilter& filter = scratch.filter;
  filter.Take(logits);
  out.logprob = kMinLogprob;
  if (!std::isfinite(filter.max())) return;
  const double log_total = filter.max() + filter.LogSum();
  const auto logprob_of = [log_total](float logit) {
    const auto logprob = static_cast<float>(logit - log_total);
    return logprob > kMinLogprob ? logprob : kMinLogprob;  // NaN too
  };
  out.logprob = logprob_of(logits[out.token]);
  const std::span<const Candidate> top = filter.Top(num_top);
  out.top.reserve(top.size());
  for (const Candidate& candidate : top) {
    out.top.push_back({candidate.id, logprob_of(candidate.logit)});
  }
}

}  // namespace lorry::sampling
