// SequenceTable: every live request, and which of its sequences run and wait.
// Owns: request states, their sequences and, through these, KV pages.
// Thread: the engine's.
#pragma once

#include <deque>
#include <memory>
#include <span>
#include <unordered_map>
#include <vector>

#include "engine/adapter_sum.h"
#include "engine/messages.h"
#include "engine/residency.h"
#include "engine/sequence.h"
#include "pages/page_pool.h"
#include "sched/plan.h"

namespace lorry::engine {

class SequenceTable {
 public:
  SequenceTable(PagePool* pool, Residency* residency, int page_tokens, int max_num_seqs,
                int max_model_len);

  // Its sequences wait behind all others.
  RequestState& Add(SubmitMessage message);
  RequestState* Find(RequestId id);  // null: finished or never seen

  // What sched::Plan wants to know; valid until the next call. Of the waiting sequences it shows
  // those whose adapter is in the pool, and starts to load what the others want.
  sched::SchedView View();
  // A waiting sequence whose adapter can never be loaded; null: none (known after View).
  Sequence* hopeless() const { return hopeless_; }
  // The oldest waiting sequence, if it has waited for its adapter since before `since_us`.
  Sequence* overdue(Micros since_us) const;
  // That all adapters of a request take together.
  int AdapterPages(const RequestState& state) const;
  // Preempts and admits as planned, and gives the chunks' sequences the pages for them.
  void Apply(const sched::StepPlan& plan);

  // The sequence leaves the table with the next Sweep; its pages are free at once.
  void Finish(Sequence& sequence);
  // Forgets finished sequences, and requests that have no other.
  void Sweep();

  std::span<Sequence* const> running() const { return running_; }
  const std::deque<Sequence*>& waiting() const { return waiting_; }  // oldest first
  bool empty() const { return requests_.empty(); }
  const std::unordered_map<RequestId, std::unique_ptr<RequestState>>& requests() const {
    return requests_;
  }

 private:
  Residency::Answer Want(const RequestState& state);
  void CollectReady(size_t max_ready);
  bool WantAdapters(size_t max_ready);  // false: one found no room
  void EvictFor(const Sequence& sequence, int num_tokens);
  void Enter(Sequence& sequence);
  void Leave(Sequence& sequence);

  PagePool* const pool_;
  Residency* const residency_;
  const int page_tokens_;
  const int max_num_seqs_;
  const int max_model_len_;
  std::unordered_map<RequestId, std::unique_ptr<RequestState>> requests_;
  AdapterSums sums_;
  std::vector<Sequence*> running_;  // oldest first
  std::deque<Sequence*> waiting_;   // oldest first
  std::vector<Sequence*> ready_;    // of these, the ones that the last View showed
  Sequence* hopeless_ = nullptr;
  std::vector<RequestId> ended_;  // since the last Sweep
  bool any_finished_ = false;
  uint64_t next_seq_id_ = 0;
  std::vector<sched::SchedSeq> running_view_, waiting_view_;
};

}  // namespace lorry::engine
