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

bool IsToken(TokenId id, std::span<const float> logits) {
  return id >= 0 && static_cast<size_t>(id) < logits.size();
}

struct PenaltyScratch {
  std::span<float> adjusted;  // [the row's vocabulary]
  std::vector<int32_t>& counts;
  std::vector<bool>& seen;
};

void ApplyPenalties(const RowInput& row, const PenaltyScratch& scratch) {
  const SamplingParams& params = *row.params;
  if (params.repetition_penalty != 1.0f) {
    for (const auto tokens : {row.prompt, row.output}) {
      for (const TokenId token : tokens) {
        if (!IsToken(token, scratch.adjusted) || scratch.seen[static_cast<size_t>(token)]) continue;
        scratch.seen[static_cast<size_t>(token)] = true;
        float& logit = scratch.adjusted[static_cast<size_t>(token)];
        logit = logit > 0 ? logit / params.repetition_penalty : logit * params.repetition_penalty;
      }
    }
    for (const auto tokens : {row.prompt, row.output}) {
      for (const TokenId token : tokens) {
        if (IsToken(token, scratch.adjusted)) scratch.seen[static_cast<size_t>(token)] = false;
      }
    }
  }
  for (const TokenId token : row.output) {
    if (IsToken(token, scratch.adjusted)) ++scratch.counts[static_cast<size_t>(token)];
  }
  for (const TokenId token : row.output) {
    if (!IsToken(token, scratch.adjusted)) continue;
    int32_t& count = scratch.counts[static_cast<size_t>(token)];
    if (count == 0) continue;  // done at its first occurrence
    scratch.adjusted[static_cast<size_t>(token)] -=
        params.frequency_penalty * static_cast<float>(count) + params.presence_penalty;
    count = 0;
  }
}

}  // namespace

Sampler::Sampler(int max_vocab_size, int max_rows, int num_threads)
    : max_vocab_size_(max_vocab_size), max_rows_(max_rows) {
  const auto size = static_cast<size_t>(max_vocab_size);
  for (int i = 0; i < num_threads; ++i) {
    scratch_.push_back({std::vector<float>(size), std::vector<int32_t>(size),
                        std::vector<bool>(size), RowFilter(max_vocab_size)});
  }
}

void Sampler::Sample(const Stream& stream, std::span<const RowInput> rows,
                     std::span<const Row> logits, std::span<TokenOutput> out) {
  CHECK_LE(rows.size(), static_cast<size_t>(max_rows_));
  CHECK_EQ(rows.size(), logits.size());
  CHECK_EQ(rows.size(), out.size());
  CHECK_LE(static_cast<size_t>(stream.num_threads()), scratch_.size());
  stream.ParallelFor(static_cast<int>(rows.size()), [&](int row_idx, int thread_idx) {
    const auto i = static_cast<size_t>(row_idx);
    Scratch& scratch = scratch_[static_cast<size_t>(thread_idx)];
    CHECK_LE(logits[i].size(), static_cast<size_t>(max_vocab_size_));
    out[i] = {.token = SampleRow(rows[i], logits[i], scratch)};
    if (rows[i].params->num_logprobs >= 0) {
      RowLogprobs(logits[i], rows[i].params->num_logprobs, scratch, out[i]);
    }
  });
}

void Sampler::Logprobs(const Stream& stream, std::span<const Row> logits,
                       std::span<const TokenId> tokens, int num_top, std::span<TokenOutput> out) {
  CHECK_EQ(logits.size(), tokens.size());
  CHECK_EQ(logits.size(), out.size());
  CHECK_LE(static_cast<size_t>(stream.num_threads()), scratch_.size());
  stream.ParallelFor(static_cast<int>(logits.size()), [&](int row_idx, int thread_idx) {
    const auto i = static_cast<size_t>(row_idx);
    CHECK_LE(logits[i].size(), static_cast<size_t>(max_vocab_size_));
    CHECK(IsToken(tokens[i], logits[i]));
    out[i] = {.token = tokens[i]};
    RowLogprobs(logits[i], num_top, scratch_[static_cast<size_t>(thread_idx)], out[i]);
  });
}

TokenId Sampler::SampleRow(const RowInput& row, Row logits, Scratch& scratch) {
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
Sampler::Row Sampler::Adjust(const RowInput& row, Row logits, Scratch& scratch) {
  const SamplingParams& params = *row.params;
  if (params.logit_bias.empty() && row.banned.empty() && !HasPenalties(params)) return logits;
  const std::span<float> adjusted = std::span(scratch.adjusted).first(logits.size());
  std::ranges::copy(logits, adjusted.begin());
  for (const auto& [token, bias] : params.logit_bias) {
    if (IsToken(token, adjusted)) adjusted[static_cast<size_t>(token)] += bias;
  }
  if (HasPenalties(params)) ApplyPenalties(row, {adjusted, scratch.counts, scratch.seen});
  for (const TokenId token : row.banned) {
    if (IsToken(token, adjusted)) adjusted[static_cast<size_t>(token)] = kMinusInf;
  }
  return adjusted;
}

void Sampler::RowLogprobs(Row logits, int num_top, Scratch& scratch, TokenOutput& out) {
  RowFilter& filter = scratch.filter;
  filter.Take(logits);
  out.logprob = kMinLogprob;
  if (!std::isfinite(filter.max())) return;
  const double log_total = filter.max() + filter.LogSum();
  const auto logprob_of = [log_total](float logit) {
    const auto logprob = static_cast<float>(logit - log_total);
    return logprob > kMinLogprob ? logprob : kMinLogprob;  // NaN too
  };
  out.logprob = logprob_of(logits[static_cast<size_t>(out.token)]);
  const std::span<const Candidate> top = filter.Top(num_top);
  out.top.reserve(top.size());
  for (const Candidate& candidate : top) {
    out.top.push_back({candidate.id, logprob_of(candidate.logit)});
  }
}

}  // namespace lorry::sampling
