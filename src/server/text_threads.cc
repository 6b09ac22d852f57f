#include "server/text_threads.h"

#include <chrono>

#include "base/check.h"
#include "base/thread_name.h"

namespace lorry::server {

TextThreads::TextThreads(int num_threads, int max_pending, Work work) : work_(std::move(work)) {
  CHECK_GE(num_threads, 1);
  const size_t capacity = static_cast<size_t>((max_pending + num_threads - 1) / num_threads);
  for (int i = 0; i < num_threads; ++i) lanes_.push_back(std::make_unique<Lane>(capacity));
}

TextThreads::~TextThreads() { Stop(); }

void TextThreads::Start() {
  for (auto& lane : lanes_) {
    lane->thread = std::thread([this, &mailbox = lane->mailbox] { Run(mailbox); });
  }
}

void TextThreads::Stop() {
  stopping_ = true;
  for (auto& lane : lanes_) lane->mailbox.Close();
  for (auto& lane : lanes_) {
    if (lane->thread.joinable()) lane->thread.join();
  }
}

bool TextThreads::TrySend(TextTask&& task) {
  const size_t first = next_lane_++;
  for (size_t i = 0; i < lanes_.size(); ++i) {
    if (lanes_[(first + i) % lanes_.size()]->mailbox.TrySend(std::move(task))) return true;
  }
  return false;
}

void TextThreads::Run(Mailbox<TextTask>& mailbox) {
  NameThisThread("lorry-text");
  std::vector<TextTask> tasks;
  while (!stopping_) {
    mailbox.WaitFor(std::chrono::seconds(60));
    mailbox.Drain(tasks);
    for (TextTask& task : tasks) {
      if (!stopping_) work_(std::move(task));
    }
    tasks.clear();
  }
}

}  // namespace lorry::server
