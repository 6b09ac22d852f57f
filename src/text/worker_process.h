// A text worker as the server has it: the process, what it holds, what a call may cost it.
// Owns: the process.
// Thread: one at a time (text_sandbox.h lends them).
// Never: waits for a worker beyond a call's budget, or believes what it says.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "base/child_process.h"
#include "base/clock.h"
#include "base/result.h"
#include "text/worker_frames.h"

namespace lorry::text {

// What a call may take.
struct CallBudget {
  Micros cpu_us = 0;
  size_t memory_bytes = 0;  // beyond what the worker's texts hold
  size_t max_reply_bytes = 0;
};

// Why a worker's process is no more.
enum class WorkerEnd { kTime, kMemory, kCrash, kStopped };

struct WorkerReply {
  uint32_t status = 0;  // tk_status
  uint64_t held_bytes = 0;
  std::string fields;
};

// What a worker is given once and keeps: how a tokenizer or a template is made, and made again in
// another worker.
struct WorkerObject {
  WorkerOp op = WorkerOp::kNewTokenizer;
  std::string fields;
  uint64_t id = 0;
  // Calls in a row that ended a worker, and until when no more are let through (text_sandbox.h).
  mutable std::atomic<int> num_ends = 0;
  mutable std::atomic<Micros> refused_until_us = 0;
};

class WorkerProcess {
 public:
  // max_cpu_us: of any call; it may fall while one runs.
  static Result<std::unique_ptr<WorkerProcess>> Start(const std::vector<std::string>& command,
                                                      const std::vector<std::string>& environment,
                                                      const std::atomic<Micros>& max_cpu_us);

  // After an error the process is no more; an error of the call itself is a reply.
  tl::expected<WorkerReply, WorkerEnd> Call(WorkerOp op, uint64_t object, std::string_view fields,
                                            const CallBudget& budget);

  bool Holds(uint64_t object) const { return held_.contains(object); }
  bool HoldsGone() const;  // what nobody has any more
  void Keep(const std::shared_ptr<const WorkerObject>& object, uint64_t num_bytes);
  // Those that nobody has any more, and the ones not used for longest until no more than
  // `max_bytes` are held.
  void Forget(uint64_t max_bytes);
  void Use(uint64_t object) { held_.at(object).last_use = ++num_uses_; }

  bool is_alive() const { return !has_ended_; }
  // Whether there was a call before.
  bool is_used() const { return is_used_; }

 private:
  struct Held {
    std::weak_ptr<const WorkerObject> object;
    uint64_t num_bytes = 0;
    uint64_t last_use = 0;
  };

  WorkerProcess(ChildProcess process, const std::atomic<Micros>& max_cpu_us)
      : process_(std::move(process)), max_cpu_us_(max_cpu_us) {}
  tl::unexpected<WorkerEnd> End(WorkerEnd reason);
  WorkerEnd WhyEnded();

  ChildProcess process_;
  const std::atomic<Micros>& max_cpu_us_;
  bool has_ended_ = false;
  bool is_used_ = false;
  std::unordered_map<uint64_t, Held> held_;
  uint64_t num_uses_ = 0;
};

}  // namespace lorry::text
