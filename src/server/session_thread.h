// SessionThread: a thread on which sessions live: it hands their messages to them one by one, then
// lets each that was touched send what it has, so that a step's tokens of all sequences cost few
// wake-ups and writes. There are two: large answers are made beside the others. Owns: the mailbox
// and the thread. Thread: mailbox() from any; Start and Stop from one. Never: tokenises.
#pragma once

#include <atomic>
#include <memory>
#include <thread>
#include <variant>

#include "base/mailbox.h"
#include "request/token_event.h"

namespace lorry::server {

class Session;

struct StartSession {};
struct ClientGone {};

struct SessionMessage {
  std::shared_ptr<Session> session;
  std::variant<StartSession, TokenEvent, ClientGone> what;
};

// What is in it is bounded by its senders: the engine's sequences and the open connections.
using SessionMailbox = Mailbox<SessionMessage>;

// What a thread's answers are; a large one may take it for seconds.
enum class AnswerSize { kUsual, kLarge };

class SessionThread {
 public:
  explicit SessionThread(AnswerSize size);
  ~SessionThread();  // Stop

  void Start();
  // Handles what has arrived, then ends. Messages sent later are dropped.
  void Stop();

  // Shared: senders may outlive the thread.
  const std::shared_ptr<SessionMailbox>& mailbox() const { return mailbox_; }

 private:
  void Run();

  const AnswerSize size_;
  const std::shared_ptr<SessionMailbox> mailbox_;
  std::atomic<bool> stopping_ = false;
  std::thread thread_;
};

}  // namespace lorry::server
