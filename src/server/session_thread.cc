#include "server/session_thread.h"

#include <chrono>
#include <limits>
#include <unordered_set>
#include <vector>

#include "base/background.h"
#include "base/thread_name.h"
#include "server/session.h"

namespace lorry::server {

SessionThread::SessionThread(AnswerSize size)
    : size_(size), mailbox_(std::make_shared<SessionMailbox>(std::numeric_limits<size_t>::max())) {}

SessionThread::~SessionThread() { Stop(); }

void SessionThread::Start() {
  thread_ = std::thread([this] { Run(); });
}

void SessionThread::Stop() {
  stopping_ = true;
  mailbox_->Close();
  if (thread_.joinable()) thread_.join();
}

void SessionThread::Run() {
  if (size_ == AnswerSize::kLarge) {
    NameThisThread("lorry-answers");
    BecomeBackgroundThread();
  } else {
    NameThisThread("lorry-sessions");
    BecomeQuickThread();
  }
  std::vector<SessionMessage> messages;
  std::unordered_set<Session*> touched;  // all held by `messages`
  while (true) {
    const bool is_last_round = stopping_;
    mailbox_->WaitFor(std::chrono::seconds(60));
    mailbox_->Drain(messages);
    for (SessionMessage& message : messages) {
      message.session->Handle(message.what);
      touched.insert(message.session.get());
    }
    for (Session* session : touched) session->Flush();
    touched.clear();
    messages.clear();
    if (is_last_round) return;
  }
}

}  // namespace lorry::server
