// SequenceTable: every live request, and which of its sequences run and wait.
// Owns: request states, their sequences and, through these, KV pages.
// Thread: the engine's.
#pragma once

#include <memory>
#include <span>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "engine/adapter_sum.h"
#include "engine/messages.h"
#include "engine/residency.h"
#include "engine/sequence.h"
#include "pages/page_pool.h"
#include "sched/plan.h"
#include "sched/waiting_line.h"

namespace lorry::engine {

class SequenceTable {
 public:
  SequenceTable(PagePool* pool, Residency* residency, int page_tokens, int max_num_seqs,
                int max_model_len);

  // Its sequences wait for their turns (sched/waiting_line.h).
  RequestState& Add(SubmitMessage message);
  RequestState* Find(RequestId id);  // null: finished or never seen

  // What sched::Plan wants to know; valid until the next call. Of the waiting sequences it shows
  // those whose adapter is in the pool, and starts to load what the others want.
  sched::SchedView View();
  // A waiting sequence whose adapter can never be loaded; null: none (known after View).
  Sequence* hopeless() const { return hopeless_; }
  // The waiting sequence whose adapter finds no room, if it arrived before `since_us` (as of View).
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
  int num_waiting() const { return num_waiting_; }
  // visit(Sequence&), which may finish it. In no particular order.
  template <typename Visit>
  void ForEachWaiting(const Visit& visit) const {
    for (const auto& [id, state] : requests_) {
      for (Sequence& sequence : state->sequences) {
        if (!sequence.is_running && !sequence.is_finished) visit(sequence);
      }
    }
  }
  bool empty() const { return requests_.empty(); }
  const std::unordered_map<RequestId, std::unique_ptr<RequestState>>& requests() const {
    return requests_;
  }

 private:
  Residency::Answer Want(const RequestState& state);
  void CollectReady();
  bool WantAdapters();  // false: one found no room
  bool HasRunning(const Sequence& sequence) const;
  void EvictFor(const Sequence& sequence, int num_tokens);
  void Enter(Sequence& sequence);
  void Leave(Sequence& sequence);
  void LeaveLine(Sequence& sequence);

  PagePool* const pool_;
  Residency* const residency_;
  const int page_tokens_;
  const int max_num_seqs_;
  const int max_model_len_;
  std::unordered_map<RequestId, std::unique_ptr<RequestState>> requests_;
  AdapterSums sums_;
  std::vector<Sequence*> running_;                  // oldest first
  std::vector<Sequence*> preempted_;                // wait to run again, oldest first
  sched::WaitingLine<Sequence> line_;               // behind these, who has not run yet
  int num_waiting_ = 0;                             // both
  std::unordered_map<RequestId, int> num_running_;  // sequences of a client's request, at least 1
  std::vector<Sequence*> ready_;  // of those that wait, the ones that the last View showed
  std::unordered_set<RequestId> shown_;
  Sequence* hopeless_ = nullptr;
  Sequence* without_room_ = nullptr;
  std::vector<RequestId> ended_;  // since the last Sweep
  bool any_finished_ = false;
  uint64_t last_seq_id_ = 0;
  std::vector<sched::SchedSeq> running_view_, waiting_view_;
};

}  // namespace lorry::engine
