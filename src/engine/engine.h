// Engine: many requests in, one batch after the other, tokens out.
// Owns: the model, the KV cache, the compute threads and the engine thread, which alone touches
// sequences and pages. Thread: every method from any thread; requests are checked on the caller's,
// so the engine thread sees valid ones only. Never: blocks a caller (Stop and the destructor
// aside); a full queue refuses.
#pragma once

#include <atomic>
#include <chrono>
#include <memory>
#include <optional>
#include <thread>
#include <vector>

#include "base/mailbox.h"
#include "base/result.h"
#include "engine/engine_observer.h"
#include "engine/engine_options.h"
#include "engine/messages.h"
#include "engine/step_model.h"
#include "pages/page_pool.h"
#include "request/generator.h"

namespace prometheus {
class Registry;
}

namespace lorry::engine {

class EngineCore;

class Engine final : public Generator {
 public:
  // Before there is a model: do the options fit it and each other? pool_bytes 0: not known yet.
  static Status CheckOptions(EngineOptions options, const model::ModelSpec& spec);
  // Fails when the options do not fit the model or each other. The registry outlives the engine.
  static Result<std::unique_ptr<Engine>> Create(EngineOptions options,
                                                std::unique_ptr<StepModel> model,
                                                prometheus::Registry* registry);
  ~Engine() override;  // as Stop(0)

  Status Submit(GenerateRequest request, std::shared_ptr<EventSink> sink) override;
  void Cancel(RequestId request, int seq_idx = -1) override;
  void Complete(RequestId request, int seq_idx) override;

  // Brings an adapter to the page pool; and keeps it there, or lets it go like others.
  void Warm(std::shared_ptr<const AdapterHandle> adapter);
  void Pin(std::shared_ptr<const AdapterHandle> adapter);
  void Unpin(AdapterId adapter);
  // The adapter is gone for good.
  void Drop(AdapterId adapter);
  // In the metrics, what waits elsewhere to come here is waiting too.
  void ShowWaiting(WaitingRequests requests);
  // The names that metrics may show; before the first call any.
  void ShowNames(std::vector<NameChange> changes);
  // Those that were in the pool lately.
  std::shared_ptr<const std::vector<AdapterId>> resident_adapters() const;

  // Refuses new requests, lets the others finish for at most `drain`, cancels what is left and ends
  // the thread. A second call, while the first one waits, can only shorten that; it does not wait.
  void Stop(std::chrono::milliseconds drain);

  EngineStats stats() const;
  const EngineOptions& options() const { return options_; }  // with max_model_len resolved
  int max_model_len() const { return options_.max_model_len; }
  size_t max_adapter_bytes() const;  // that the pool has for adapters when no KV needs it
  size_t pool_bytes() const;         // of the page pool, resident where touched

 private:
  Engine(EngineOptions options, std::unique_ptr<StepModel> model, PagePool pool,
         prometheus::Registry& registry);

  Status CheckRequest(const GenerateRequest& request) const;
  void Run();
  void Receive();
  void Handle(SubmitMessage message);
  void Handle(const CancelMessage& message);
  void Handle(const KeepMessage& message);
  void Handle(const UnpinMessage& message);
  void Handle(const DropMessage& message);
  void Handle(AdapterCopied message);
  void Handle(WaitingMessage message);
  void Handle(const NamesMessage& message);
  void Handle(const StopMessage& message);

  const EngineOptions options_;
  Mailbox<Message> mailbox_;                // before the core, whose copier sends to it
  std::unique_ptr<EngineCore> core_;        // the engine thread's, while it runs
  std::vector<Message> inbox_;              // the engine thread's
  std::optional<Micros> stop_deadline_us_;  // the engine thread's
  std::atomic<bool> stopping_ = false;
  std::atomic<bool> joining_ = false;
  std::thread thread_;
};

}  // namespace lorry::engine
