// EchoGenerator: a Generator for tests of the server: answers with the prompt's own tokens, over
// and over, one event a token, from a thread of its own. Owns: that thread. Thread: Submit and
// Cancel from any.
#pragma once

#include <atomic>
#include <chrono>
#include <memory>
#include <optional>
#include <thread>
#include <vector>

#include "base/mailbox.h"
#include "request/generator.h"

namespace lorry::server {

struct EchoOptions {
  std::chrono::microseconds token_time{0};
  int max_requests = 1024;     // at once; beyond: kResourceExhausted
  TokenId eos = -1;            // a prompt token that ends the answer
  std::optional<int> fail_at;  // the token at which every sequence fails
};

class EchoGenerator final : public Generator {
 public:
  explicit EchoGenerator(EchoOptions options = {});
  ~EchoGenerator() override;

  Status Submit(GenerateRequest request, std::shared_ptr<EventSink> sink) override;
  void Cancel(RequestId request, int seq_idx = -1) override;

  int num_running() const { return num_running_; }      // requests
  int num_cancelled() const { return num_cancelled_; }  // sequences that a Cancel ended
  std::vector<GenerateRequest> TakeSubmitted();         // since the last call

 private:
  struct Running {
    GenerateRequest request;
    std::shared_ptr<EventSink> sink;
    std::vector<int> num_drawn;  // by sequence
    std::vector<bool> is_done;
  };
  struct Message {
    std::optional<Running> submit;
    RequestId cancel;
    int cancel_seq_idx = -1;
  };

  void Run();
  void Receive();
  void HandleCancel(RequestId request, int seq_idx);
  void Step(Running& running);
  void EmitToken(Running& running, int seq_idx);
  static void End(Running& running, TokenEvent event);

  const EchoOptions options_;
  Mailbox<Message> mailbox_;
  std::vector<Message> inbox_;
  std::vector<Running> running_;
  std::atomic<int> num_running_ = 0;
  std::atomic<int> num_cancelled_ = 0;
  std::atomic<bool> stopping_ = false;
  Mailbox<GenerateRequest> submitted_;
  std::thread thread_;
};

}  // namespace lorry::server
