// Tokenizers and chat templates of adapters, in processes of ours with limits: what an adapter
// brings can cost its own callers an error, and nobody else anything. Owns: the workers that wait
// for a call; the calls in progress own theirs. Thread: any; a call takes a worker of its own, so
// that none waits for another's. Never: lets a call go on beyond its budget, or starts a worker for
// a text again and again: whose calls end workers one after the other is refused for a while.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "base/pool.h"
#include "text/text_backend.h"
#include "text/worker_process.h"

namespace lorry::text {

struct SandboxOptions {
  // The program of a worker, which calls RunTextWorker, with its arguments.
  std::vector<std::string> command = {"/proc/self/exe", std::string(kWorkerCommand)};
  std::vector<std::string> environment = {};  // "NAME=value", all that it gets
  CallBudget call = {
      .cpu_us = 2'000'000, .memory_bytes = size_t{256} << 20, .max_reply_bytes = size_t{128} << 20};
  // Of making a tokenizer or template: once, and kept.
  CallBudget load = {
      .cpu_us = 10'000'000, .memory_bytes = size_t{1} << 30, .max_reply_bytes = size_t{128} << 20};
  // What the texts of one worker hold; those not used for longest go.
  size_t max_held_bytes = size_t{512} << 20;
  size_t max_waiting_workers = 4;
  // The first pause of a text whose calls end workers; each further one is twice as long, up to 64
  // times this. One such call may happen to anybody and has no pause.
  Micros pause_us = 1'000'000;
  const Clock* clock = &Clock::Steady();  // of pauses
};

struct SandboxStats {
  std::atomic<uint64_t> num_calls = 0;
  std::atomic<uint64_t> num_refused = 0;            // in a pause
  std::atomic<uint64_t> num_started = 0;            // processes
  std::array<std::atomic<uint64_t>, 4> num_ends{};  // by WorkerEnd
};

class TextSandbox final : public TextBackend, public std::enable_shared_from_this<TextSandbox> {
 public:
  static std::shared_ptr<TextSandbox> Create(SandboxOptions options = {});
  ~TextSandbox() override = default;

  Result<std::shared_ptr<const TokenizerBackend>> NewTokenizer(
      std::string_view json, std::string_view more_tokens) override;
  Result<std::shared_ptr<const TemplateBackend>> NewTemplate(
      std::string_view source, std::string_view variables, const tk_limits& limits,
      const TokenizerBackend* tokens) override;

  // From here on calls are short: running ones that have taken longer end now. At the latest after
  // the second call all end.
  void HurryUp() { max_cpu_us_ = kHurriedCpuUs; }
  void Stop();

  const SandboxStats& stats() const { return stats_; }

  // For the objects that it made.
  Result<WorkerReply> Call(const std::shared_ptr<const WorkerObject>& object, WorkerOp op,
                           std::string_view fields);

 private:
  static constexpr Micros kHurriedCpuUs = 200'000;
  using Worker = std::unique_ptr<WorkerProcess>;

  bool is_hurried() const { return max_cpu_us_ != INT64_MAX; }
  explicit TextSandbox(SandboxOptions options) : options_(std::move(options)) {}
  std::shared_ptr<WorkerObject> NewObject(WorkerOp op, std::string fields);
  // The reply that making it had.
  Result<WorkerReply> Make(const std::shared_ptr<const WorkerObject>& object);
  Result<Worker> TakeWorker(uint64_t object, bool fresh);
  // Workers that wait give up, then, what they hold of objects that have gone.
  void PutBack(Worker worker);
  void Keep(Worker worker);
  tl::expected<WorkerReply, WorkerEnd> CallOn(WorkerProcess& worker,
                                              const std::shared_ptr<const WorkerObject>& object,
                                              WorkerOp op, std::string_view fields) const;
  Status CheckPause(const WorkerObject& object);
  Error Ended(WorkerEnd end, const WorkerObject& object, const CallBudget& budget, bool is_load);

  const SandboxOptions options_;
  SandboxStats stats_;
  std::atomic<Micros> max_cpu_us_ = INT64_MAX;
  std::atomic<uint64_t> next_object_ = 1;
  Pool<WorkerProcess> waiting_;
};

}  // namespace lorry::text
