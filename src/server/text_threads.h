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
#include "server/exchange.h"
#include "server/router.h"

namespace lorry::server {

struct TextTask {
  Endpoint endpoint = Endpoint::kCompletions;
  std::string body;
  std::unique_ptr<Exchange> exchange;
};

class TextThreads {
 public:
  using Work = std::function<void(TextTask)>;  // called on a text thread

  TextThreads(int num_threads, int max_pending, Work work);
  ~TextThreads();  // Stop

  void Start();
  void Stop();  // what waits is dropped unanswered

  // False: too many wait; the task is untouched.
  bool TrySend(TextTask&& task);

 private:
  struct Lane {
    explicit Lane(size_t capacity) : mailbox(capacity) {}
    Mailbox<TextTask> mailbox;
    std::thread thread;
  };

  void Run(Mailbox<TextTask>& mailbox);

  const Work work_;
  std::vector<std::unique_ptr<Lane>> lanes_;
  std::atomic<size_t> next_lane_ = 0;
  std::atomic<bool> stopping_ = false;
};

}  // namespace lorry::server
