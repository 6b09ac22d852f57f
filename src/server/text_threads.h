// TextThreads: where bodies are parsed, templates rendered and texts tokenised, so that a long
// prompt keeps no connection and no other answer waiting. Owns: the threads, and a bounded mailbox
// of each. Thread: TrySend from any; Start and Stop from one.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "base/mailbox.h"
#include "request/adapter_term.h"
#include "request/waiting_request.h"
#include "server/exchange.h"
#include "server/router.h"

namespace lorry::server {

struct TextTask {
  Endpoint endpoint = Endpoint::kCompletions;
  std::string body;
  std::unique_ptr<Exchange> exchange;
  // Set when the request has waited for adapters' weights.
  std::vector<AdapterTerm> adapters;
  std::shared_ptr<WaitingRequest> waiting;
};

struct TextLimits {
  int num_threads = 1;
  int max_pending = 1024;                // tasks that wait
  size_t max_pending_bytes = 256 << 20;  // of bodies that wait or are worked on, but for a lone one
};

class TextThreads {
 public:
  using Work = std::function<void(TextTask)>;  // called on a text thread

  TextThreads(const TextLimits& limits, Work work);
  ~TextThreads();  // Stop

  void Start();
  void Stop();  // what waits is dropped unanswered

  // False: too many wait, or too many bytes; the task is untouched.
  bool TrySend(TextTask&& task);

 private:
  struct Lane {
    explicit Lane(size_t capacity) : mailbox(capacity) {}
    Mailbox<TextTask> mailbox;
    std::thread thread;
  };

  bool Reserve(size_t num_bytes);
  void Run(Mailbox<TextTask>& mailbox);

  const Work work_;
  const size_t max_pending_bytes_;
  std::atomic<size_t> pending_bytes_ = 0;
  std::vector<std::unique_ptr<Lane>> lanes_;
  std::atomic<size_t> next_lane_ = 0;
  std::atomic<bool> stopping_ = false;
};

}  // namespace lorry::server
