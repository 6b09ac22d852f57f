#include "server/text_threads.h"

#include <chrono>

#include "base/check.h"
#include "base/thread_name.h"

namespace lorry::server {

TextThreads::TextThreads(const TextLimits& limits, Work work)
    : work_(std::move(work)), max_pending_bytes_(limits.max_pending_bytes) {
  CHECK_GE(limits.num_threads, 1);
  const int capacity = (limits.max_pending + limits.num_threads - 1) / limits.num_threads;
  for (int i = 0; i < limits.num_threads; ++i) {
    lanes_.push_back(std::make_unique<Lane>(static_cast<size_t>(capacity)));
  }
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

bool TextThreads::Reserve(size_t num_bytes) {
  size_t pending = pending_bytes_;
  do {
    if (pending > 0 && pending + num_bytes > max_pending_bytes_) return false;
  } while (!pending_bytes_.compare_exchange_weak(pending, pending + num_bytes));
  return true;
}

bool TextThreads::TrySend(TextTask&& task) {
  const size_t num_bytes = task.body.size();
  if (!Reserve(num_bytes)) return false;
  const size_t first = next_lane_++;
  for (size_t i = 0; i < lanes_.size(); ++i) {
    if (lanes_[(first + i) % lanes_.size()]->mailbox.TrySend(std::move(task))) return true;
  }
  pending_bytes_ -= num_bytes;
  return false;
}

void TextThreads::Run(Mailbox<TextTask>& mailbox) {
  NameThisThread("lorry-text");
  std::vector<TextTask> tasks;
  while (!stopping_) {
    mailbox.WaitFor(std::chrono::seconds(60));
    mailbox.Drain(tasks);
    for (TextTask& task : tasks) {
      const size_t num_bytes = task.body.size();
      if (!stopping_) work_(std::move(task));
      pending_bytes_ -= num_bytes;
    }
    tasks.clear();
  }
}

}  // namespace lorry::server
