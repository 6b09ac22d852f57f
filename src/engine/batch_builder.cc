#include "engine/batch_builder.h"

#include <algorithm>
#include <utility>

#include "base/check.h"
#include "request/adapter_term.h"

namespace lorry::engine {

BatchBuilder::BatchBuilder(int max_rows, int max_sequences, int max_logit_rows, kernels::KvView kv)
    : max_rows_(max_rows), max_logit_rows_(max_logit_rows) {
  tokens_.reserve(max_rows);
  sequences_.reserve(max_sequences);
  segments_.reserve(size_t{kMaxAdapterTerms} * max_sequences);
  adapters_.reserve(segments_.capacity());
  logit_rows_.reserve(max_logit_rows);
  logits_.reserve(max_logit_rows);
  batch_.kv = kv;
}

const model::ForwardBatch& BatchBuilder::Build(std::span<Sequence* const> running,
                                               std::span<const sched::Chunk> chunks) {
  tokens_.clear();
  sequences_.clear();
  segments_.clear();
  logit_rows_.clear();
  logits_.clear();
  last_adapter_idx_ = 0;
  num_decode_rows_ = 0;
  for (const sched::Chunk& chunk : chunks) AddRows(running[chunk.running_idx], chunk.num_tokens);

  CHECK_LE(static_cast<int>(tokens_.size()), max_rows_);
  CHECK_LE(static_cast<int>(logits_.size()), max_logit_rows_);
  batch_.tokens = tokens_;
  batch_.sequences = sequences_;
  batch_.segments = segments_;
  batch_.logit_rows = logit_rows_;
  num_adapters_ = CountAdapters();
  return batch_;
}

void BatchBuilder::AddRows(Sequence* sequence, int num_rows) {
  CHECK_LE(num_rows, sequence->num_uncomputed());
  const int row_begin = static_cast<int>(tokens_.size());
  const auto first = sequence->tokens.begin() + sequence->num_computed;
  tokens_.insert(tokens_.end(), first, first + num_rows);
  sequences_.push_back(
      {row_begin, num_rows, sequence->num_computed, sequence->pages.table().data()});
  if (sequence->num_uncomputed() == 1 && sequence->num_output() > 0) ++num_decode_rows_;

  AddSegments(*sequence->request, row_begin, num_rows);
  AddLogits(sequence, row_begin, num_rows);
}

// One for each adapter of the sum; rows of the same sum lie together.
void BatchBuilder::AddSegments(const RequestState& state, int row_begin, int num_rows) {
  if (state.adapter_idx != std::exchange(last_adapter_idx_, state.adapter_idx)) {
    for (const SummedAdapter& part : state.adapters) {
      segments_.push_back({row_begin, row_begin, part.weights, part.weight});
    }
  }
  for (size_t i = 1; i <= state.adapters.size(); ++i) {
    segments_[segments_.size() - i].row_end = row_begin + num_rows;
  }
}

int BatchBuilder::CountAdapters() {
  adapters_.clear();
  for (const model::AdapterSegment& segment : segments_) adapters_.push_back(segment.adapter);
  std::sort(adapters_.begin(), adapters_.end());
  return static_cast<int>(std::unique(adapters_.begin(), adapters_.end()) - adapters_.begin());
}

void BatchBuilder::AddLogits(Sequence* sequence, int row_begin, int num_rows) {
  const int last_known = static_cast<int>(sequence->tokens.size()) - 1;
  const bool wants_prompt = sequence->wants_prompt_logprobs();
  for (int i = 0; i < num_rows; ++i) {
    const int position = sequence->num_computed + i;
    const bool draws = position == last_known && sequence->max_output > 0;
    // Of the prompt only what was not known before a preemption.
    const bool tells = wants_prompt && position + 1 >= sequence->num_prompt_logprobs &&
                       position + 1 < sequence->num_prompt;
    if (!draws && !tells) continue;
    logit_rows_.push_back(row_begin + i);
    logits_.push_back({sequence, position, draws});
  }
}

}  // namespace lorry::engine
