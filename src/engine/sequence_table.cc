#include "engine/sequence_table.h"

#include <algorithm>
#include <utility>

#include "base/check.h"

namespace lorry::engine {
namespace {

sched::SchedSeq SchedViewOf(const Sequence& sequence) {
  return {
      .num_computed = sequence.num_computed,
      .num_tokens = static_cast<int>(sequence.tokens.size()),
      .num_pages = sequence.pages.num_pages(),
      // Who asks for no token still takes the step in which its prompt ends.
      .max_new_tokens = std::max(1, sequence.max_output - sequence.num_output()),
      .adapter_idx = sequence.request->adapter_idx,
      .all_logits = sequence.wants_prompt_logprobs(),
  };
}

}  // namespace

SequenceTable::SequenceTable(PagePool* pool, int page_tokens, int max_num_seqs, int max_model_len)
    : pool_(pool),
      page_tokens_(page_tokens),
      max_num_seqs_(max_num_seqs),
      max_model_len_(max_model_len) {}

RequestState& SequenceTable::Add(SubmitMessage message) {
  auto state = std::make_unique<RequestState>();
  state->request = std::move(message.request);
  state->sink = std::move(message.sink);
  state->adapter = message.adapter;
  state->adapter_idx = AdapterIdx(state->request.adapter);
  GenerateRequest& request = state->request;
  const std::vector<TokenId> prompt = std::move(request.prompt);
  const int num_prompt = static_cast<int>(prompt.size());
  const int max_output = std::min(request.sampling.max_tokens, max_model_len_ - num_prompt);

  state->num_unfinished = request.num_sequences;
  state->sequences.reserve(request.num_sequences);
  for (int i = 0; i < request.num_sequences; ++i) {
    Sequence& sequence = state->sequences.emplace_back(
        state.get(), SequencePages(pool_, page_tokens_, num_prompt + max_output));
    sequence.seq_idx = i;
    sequence.id = SeqId{next_seq_id_++};
    sequence.tokens = prompt;
    sequence.num_prompt = num_prompt;
    sequence.max_output = max_output;
    if (request.sampling.prompt_logprobs) {
      sequence.prompt_logprobs.push_back({.token = prompt[0]});
      sequence.num_prompt_logprobs = 1;
    }
    waiting_.push_back(&sequence);
  }
  const auto [entry, is_new] = requests_.emplace(request.id, std::move(state));
  CHECK_MSG(is_new, "request id {} is in use", entry->first.value);
  return *entry->second;
}

RequestState* SequenceTable::Find(RequestId id) {
  const auto entry = requests_.find(id);
  return entry == requests_.end() ? nullptr : entry->second.get();
}

sched::SchedView SequenceTable::View() {
  running_view_.clear();
  waiting_view_.clear();
  for (const Sequence* sequence : running_) running_view_.push_back(SchedViewOf(*sequence));
  const size_t num_waiting = std::min(waiting_.size(), max_num_seqs_ - running_.size());
  for (size_t i = 0; i < num_waiting; ++i) waiting_view_.push_back(SchedViewOf(*waiting_[i]));
  return {running_view_, waiting_view_, pool_->num_free()};
}

void SequenceTable::Apply(const sched::StepPlan& plan) {
  for (int i = 0; i < plan.num_preempted; ++i) {
    Sequence* newest = running_.back();
    running_.pop_back();
    newest->pages.Release();
    newest->num_computed = 0;
    waiting_.push_front(newest);
  }
  for (int i = 0; i < plan.num_admitted; ++i) {
    running_.push_back(waiting_.front());
    waiting_.pop_front();
  }
  for (const sched::Chunk& chunk : plan.chunks) {
    Sequence& sequence = *running_[chunk.running_idx];
    CHECK(sequence.pages.Grow(sequence.num_computed + chunk.num_tokens));
  }
}

void SequenceTable::Finish(Sequence& sequence) {
  CHECK(!sequence.is_finished);
  sequence.is_finished = true;
  sequence.pages.Release();
  any_finished_ = true;
  RequestState& state = *sequence.request;
  if (--state.num_unfinished == 0) ended_.push_back(state.request.id);
}

void SequenceTable::Sweep() {
  if (!any_finished_) return;
  const auto is_finished = [](const Sequence* sequence) { return sequence->is_finished; };
  std::erase_if(running_, is_finished);
  std::erase_if(waiting_, is_finished);
  for (RequestId id : ended_) requests_.erase(id);
  ended_.clear();
  any_finished_ = false;
}

int SequenceTable::AdapterIdx(AdapterId adapter) {
  if (adapter.IsBase()) return 0;
  return adapter_idx_.try_emplace(adapter, static_cast<int>(adapter_idx_.size()) + 1).first->second;
}

}  // namespace lorry::engine
