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

bool IsOlder(const Sequence* a, const Sequence* b) { return a->id < b->id; }

}  // namespace

SequenceTable::SequenceTable(PagePool* pool, Residency* residency, int page_tokens,
                             int max_num_seqs, int max_model_len)
    : pool_(pool),
      residency_(residency),
      page_tokens_(page_tokens),
      max_num_seqs_(max_num_seqs),
      max_model_len_(max_model_len) {}

RequestState& SequenceTable::Add(SubmitMessage message) {
  auto state = std::make_unique<RequestState>();
  state->request = std::move(message.request);
  state->sink = std::move(message.sink);
  GenerateRequest& request = state->request;
  state->client_request = request.part_of.value == 0 ? request.id : request.part_of;
  state->adapters = SumOf(request.adapters);
  state->adapter_idx = sums_.Take(state->adapters);
  for (const SummedAdapter& part : state->adapters) residency_->OnRequest(part.image->id);
  const std::vector<TokenId> prompt = std::move(request.prompt);
  const int num_prompt = static_cast<int>(prompt.size());
  const int max_output = std::min(request.sampling.max_tokens, max_model_len_ - num_prompt);

  state->num_unfinished = request.num_sequences;
  state->num_queued = request.num_sequences;
  state->sequences.reserve(request.num_sequences);
  for (int i = 0; i < request.num_sequences; ++i) {
    Sequence& sequence = state->sequences.emplace_back(
        state.get(), SequencePages(pool_, page_tokens_, num_prompt + max_output));
    sequence.seq_idx = i;
    sequence.tokens = prompt;
    sequence.num_prompt = num_prompt;
    sequence.max_output = max_output;
    if (request.sampling.prompt_logprobs) {
      sequence.prompt_logprobs.push_back({.token = prompt[0]});
      sequence.num_prompt_logprobs = 1;
    }
    line_.Add(state->client_request, &sequence);
    ++num_waiting_;
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
  std::sort(running_.begin(), running_.end(), IsOlder);
  running_view_.clear();
  for (const Sequence* sequence : running_) running_view_.push_back(SchedViewOf(*sequence));
  CollectReady();
  waiting_view_.clear();
  shown_.clear();
  for (const Sequence* sequence : ready_) {
    waiting_view_.push_back(SchedViewOf(*sequence));
    const bool is_first_shown = shown_.insert(sequence->request->client_request).second;
    waiting_view_.back().is_further = !is_first_shown || HasRunning(*sequence);
  }
  return {running_view_, waiting_view_, pool_->num_free() + residency_->num_evictable_pages(),
          residency_->num_held_pages()};
}

// Those that could run, in turn. Where one's adapter finds no room those behind it wait too:
// pages that become free are for it.
void SequenceTable::CollectReady() {
  // What the last step's sequences wanted may have stood in the way of this step's.
  const bool found_room = WantAdapters();
  const bool any_released = residency_->EndWants();
  if (found_room || !any_released) return;
  WantAdapters();
  residency_->EndWants();
}

// Sequences of requests that run may be passed over, so they do not count among those that could
// fill the step; at most max_num_seqs of them are in the first round of the line.
bool SequenceTable::WantAdapters() {
  using Answer = sched::WaitingLine<Sequence>::Answer;
  ready_.clear();
  hopeless_ = nullptr;
  without_room_ = nullptr;
  shown_.clear();
  residency_->BeginWants();
  const size_t num_free = max_num_seqs_ - running_.size();
  size_t num_first = 0;
  const auto offer = [&](Sequence* sequence, size_t turn) {
    if (num_first == num_free || ready_.size() == 2 * size_t(max_num_seqs_)) return Answer::kStop;
    switch (Want(*sequence->request)) {
      case Residency::Answer::kResident:
        ready_.push_back(sequence);
        if (shown_.insert(sequence->request->client_request).second && !HasRunning(*sequence)) {
          ++num_first;
        }
        return turn + 1 < num_free ? Answer::kNext : Answer::kSkipRequest;
      case Residency::Answer::kTooLarge:
        hopeless_ = sequence;
        return Answer::kSkipRequest;
      case Residency::Answer::kNoRoom:
        without_room_ = sequence;
        return Answer::kStop;
      case Residency::Answer::kLoading:
        return Answer::kSkipRequest;
    }
    return Answer::kStop;
  };
  bool goes_on = true;
  for (size_t i = 0; i < preempted_.size() && goes_on; ++i) {
    goes_on = offer(preempted_[i], 0) != Answer::kStop;
  }
  if (goes_on) line_.ForEach(offer);
  return without_room_ == nullptr;
}

bool SequenceTable::HasRunning(const Sequence& sequence) const {
  return num_running_.contains(sequence.request->client_request);
}

int SequenceTable::AdapterPages(const RequestState& state) const {
  int num_pages = 0;
  for (const SummedAdapter& part : state.adapters) {
    num_pages += residency_->PagesFor(part.image->blob.size());
  }
  return num_pages;
}

Residency::Answer SequenceTable::Want(const RequestState& state) {
  if (AdapterPages(state) > residency_->max_pages()) return Residency::Answer::kTooLarge;
  Residency::Answer all = Residency::Answer::kResident;
  for (const SummedAdapter& part : state.adapters) {
    const Residency::Answer answer = residency_->Want(part.image);
    if (answer == Residency::Answer::kNoRoom) return answer;
    if (answer != Residency::Answer::kResident) all = answer;
  }
  return all;
}

Sequence* SequenceTable::overdue(Micros since_us) const {
  const bool is_overdue =
      without_room_ != nullptr && without_room_->request->request.arrival_us < since_us;
  return is_overdue ? without_room_ : nullptr;
}

void SequenceTable::Apply(const sched::StepPlan& plan) {
  for (int i = 0; i < plan.num_preempted; ++i) {
    Sequence* newest = running_.back();
    running_.pop_back();
    newest->pages.Release();
    newest->num_computed = 0;
    Leave(*newest);
    preempted_.insert(std::upper_bound(preempted_.begin(), preempted_.end(), newest, IsOlder),
                      newest);
    ++num_waiting_;
  }
  for (int idx : plan.admitted) {
    Sequence& sequence = *ready_[idx];
    Enter(sequence);
    running_.push_back(&sequence);
    --num_waiting_;
    if (sequence.id.value != 0) {
      std::erase(preempted_, &sequence);
    } else {
      sequence.id = SeqId{++last_seq_id_};
      line_.Take(sequence.request->client_request, &sequence);
    }
  }
  for (const sched::Chunk& chunk : plan.chunks) {
    Sequence& sequence = *running_[chunk.running_idx];
    const int num_tokens = sequence.num_computed + chunk.num_tokens;
    EvictFor(sequence, num_tokens);
    CHECK(sequence.pages.Grow(num_tokens));
  }
}

void SequenceTable::EvictFor(const Sequence& sequence, int num_tokens) {
  const int missing = PagesForTokens(num_tokens, page_tokens_) - sequence.pages.num_pages();
  while (pool_->num_free() < missing) CHECK(residency_->EvictForKv());
}

void SequenceTable::Enter(Sequence& sequence) {
  sequence.is_running = true;
  ++num_running_[sequence.request->client_request];
  for (SummedAdapter& part : sequence.request->adapters) {
    part.weights = residency_->Enter(part.image->id);
  }
}

void SequenceTable::Leave(Sequence& sequence) {
  if (!std::exchange(sequence.is_running, false)) return;
  const auto num_running = num_running_.find(sequence.request->client_request);
  if (--num_running->second == 0) num_running_.erase(num_running);
  for (const SummedAdapter& part : sequence.request->adapters) residency_->Leave(part.image->id);
}

void SequenceTable::LeaveLine(Sequence& sequence) {
  --num_waiting_;
  if (sequence.id.value != 0) {
    std::erase(preempted_, &sequence);
  } else {
    line_.Remove(sequence.request->client_request, &sequence);
  }
}

void SequenceTable::Finish(Sequence& sequence) {
  CHECK(!sequence.is_finished);
  sequence.is_finished = true;
  sequence.pages.Release();
  if (!sequence.is_running) LeaveLine(sequence);
  Leave(sequence);
  any_finished_ = true;
  RequestState& state = *sequence.request;
  if (--state.num_unfinished == 0) ended_.push_back(state.request.id);
}

void SequenceTable::Sweep() {
  if (!any_finished_) return;
  std::erase_if(running_, [](const Sequence* sequence) { return sequence->is_finished; });
  for (RequestId id : ended_) {
    const auto ended = requests_.find(id);
    sums_.GiveBack(ended->second->adapter_idx);
    requests_.erase(ended);
  }
  ended_.clear();
  any_finished_ = false;
}

}  // namespace lorry::engine
