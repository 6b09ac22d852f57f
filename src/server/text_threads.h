// TextThreads: where bodies are parsed, templates rendered and texts tokenised, so that a long
// prompt keeps no connection and no other answer waiting.
// Owns: the threads, and a bounded queue of each lane.
// Thread: TrySend from any; Start and Stop from one.
//
// A lane is a queue and its threads; long work has lanes beside those of short work, whose threads
// go first:
//   short   what takes a few milliseconds at most, whatever is in it
//   long    larger bodies, and those of very many messages or parts
//   own     adapters that bring a text of their own, which may be slow; each text holds one thread
//   at most
#pragma once

#include <array>
#include <atomic>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "base/result.h"
#include "base/turn_queue.h"
#include "request/adapter_term.h"
#include "request/waiting_request.h"
#include "server/body_budget.h"
#include "server/exchange.h"
#include "server/router.h"

namespace lorry::server {

struct TextTask {
  Endpoint endpoint = Endpoint::kCompletions;
  std::string body;
  std::unique_ptr<Exchange> exchange;
  std::string adapter_header = {};  // choose_model.h
  // Set when the request has waited for adapters' weights.
  std::vector<AdapterTerm> adapters;
  std::shared_ptr<WaitingRequest> waiting;
  BodyBudget::Share held = {};  // of a long body
};

struct TextThreadOptions {
  int num_threads = 1;      // of the lanes of short and of long work, each
  int num_own_threads = 4;  // of the lane of adapters' own texts
  int max_pending = 1024;   // tasks of a lane that wait
  // Of long bodies: one half for those of the long lane, the other for those of adapters' own texts
  // and those that wait for adapters. Short bodies are bounded by the connections.
  size_t max_pending_bytes = 256 << 20;
};

class TextThreads {
 public:
  using Work = std::function<void(TextTask)>;  // called on a text thread

  TextThreads(const TextThreadOptions& options, Work work);
  ~TextThreads();  // Stop

  void Start();
  void Stop();  // what waits is dropped unanswered

  // Long work asks now and then, and ends.
  bool stopping() const { return stopping_; }

  // kResourceExhausted: too many wait in the task's lane, or too many bytes; the task still has its
  // exchange.
  Status TrySend(TextTask&& task);
  // Before the task waits elsewhere, for adapters: its body counts among those that do.
  Status HoldElsewhere(TextTask& task);

 private:
  struct Lane {
    std::string_view what;  // for errors
    const char* thread_name;
    int num_threads;
    bool is_background;
    TurnQueue<TextTask> queue;
  };

  Lane& LaneOf(const TextTask& task);
  void Run(Lane& lane);

  const Work work_;
  BodyBudget long_bytes_;
  BodyBudget waiting_bytes_;
  Lane short_;
  Lane long_;
  Lane own_;
  std::vector<std::thread> threads_;
  std::atomic<bool> stopping_ = false;
};

}  // namespace lorry::server
