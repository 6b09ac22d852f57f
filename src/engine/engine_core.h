// EngineCore: the engine without its thread. What the engine thread does, one call at a time.
// Owns: the model, the KV pages, the compute threads, the sequences.
// Thread: one; but num_queued and stats from any.
#pragma once

#include <atomic>
#include <memory>
#include <vector>

#include "base/shared_value.h"
#include "device/stream.h"
#include "engine/adapter_copier.h"
#include "engine/batch_builder.h"
#include "engine/engine_observer.h"
#include "engine/engine_options.h"
#include "engine/messages.h"
#include "engine/metrics.h"
#include "engine/residency.h"
#include "engine/residency_metrics.h"
#include "engine/sequence_table.h"
#include "engine/step_model.h"
#include "pages/page_pool.h"
#include "sampling/sampler.h"
#include "sched/plan.h"

namespace lorry::engine {

class EngineCore {
 public:
  // `options` fit the model and the pool, as Engine::Create sees to.
  // `copied` is called on another thread when an adapter has been copied; its argument must come
  // back as OnCopied.
  EngineCore(const EngineOptions& options, std::unique_ptr<StepModel> model, PagePool pool,
             AdapterCopier::Done copied, prometheus::Registry& registry);

  void Submit(SubmitMessage message);
  void Keep(const KeepMessage& message);
  void Unpin(AdapterId adapter) { residency_.Unpin(adapter); }
  void Drop(AdapterId adapter) { residency_.Drop(adapter); }
  void OnCopied(AdapterCopied copied);
  void ShowNames(std::span<const NameChange> changes) { metrics_.SetNames(changes); }
  void ShowWaiting(WaitingRequests requests) { waiting_elsewhere_ = std::move(requests); }
  void Cancel(RequestId request, int seq_idx, FinishReason reason = FinishReason::kCancelled);
  void CancelAll();

  // Computes the next batch and tells the sinks. False: there is nothing to do, or nothing that
  // could be done before an adapter arrives.
  bool Step();
  // Before the thread goes to sleep.
  void OnIdle();

  bool idle() const { return table_.empty(); }
  const StepModel& model() const { return *model_; }
  const PagePool& pool() const { return pool_; }
  const Residency& residency() const { return residency_; }
  // Any thread: the adapters that were in the pool lately.
  std::shared_ptr<const std::vector<AdapterId>> resident_adapters() const {
    return resident_.Get();
  }

  // Sequences that were accepted and have not been in a step yet. Engine::Submit adds to it.
  std::atomic<int>& num_queued() { return num_queued_; }
  EngineStats stats() const;

 private:
  void FailHopeless();
  void Fail(Sequence& sequence, const Error& error);
  void Sample();
  sampling::Sampler::Row LogitsOf(size_t logit_row) const;
  void TellPromptLogprobs();
  void DrawTokens();
  void Advance(std::span<const sched::Chunk> chunks, Micros now_us);
  void TakeToken(Sequence& sequence, TokenOutput output, Micros now_us);
  void End(Sequence& sequence, TokenEvent event, FinishReason reason, Micros now_us);
  void Leave(Sequence& sequence);
  void Observe(const StepInfo& step);
  void Publish(bool with_adapters);

  const EngineOptions options_;
  std::unique_ptr<StepModel> model_;
  PagePool pool_;
  Stream stream_;
  AdapterCopier copier_;
  Residency residency_;
  sampling::Sampler sampler_;
  SequenceTable table_;
  BatchBuilder builder_;
  EngineMetrics metrics_;
  ResidencyMetrics residency_metrics_;
  const sched::SchedOptions sched_options_;
  std::vector<TokenId> eos_ids_;  // of the base; an adapter's are its requests'

  // Scratch of a step, sized once; [logit rows].
  const float* logits_ = nullptr;
  std::vector<const LogitRow*> draws_;
  std::vector<sampling::RowInput> inputs_;
  std::vector<sampling::Sampler::Row> rows_;
  std::vector<TokenId> targets_;
  std::vector<TokenOutput> outputs_;

  WaitingRequests waiting_elsewhere_;
  SharedValue<std::vector<AdapterId>> resident_;
  Micros adapters_published_us_ = 0;
  std::atomic<int> num_queued_ = 0;
  struct SharedStats {
    std::atomic<int> num_running = 0, num_waiting = 0, kv_pages_used = 0, max_adapters_in_step = 0;
    std::atomic<uint64_t> num_steps = 0, num_preemptions = 0, prompt_tokens = 0,
                          generation_tokens = 0;
  } shared_;
};

}  // namespace lorry::engine
