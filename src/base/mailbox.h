// Mailbox<T>: bounded queue, many senders, one receiver. A full mailbox refuses, it never blocks a
// sender. Thread: TrySend from any thread; Drain and Wait from the one receiver.
#pragma once

#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <mutex>
#include <utility>
#include <vector>

namespace lorry {

template <typename T>
class Mailbox {
 public:
  explicit Mailbox(size_t capacity) : capacity_(capacity) {}

  // False: full (or closed); `message` is untouched then, so the sender still owns it.
  bool TrySend(T&& message) { return Send(std::move(message), capacity_); }

  // For messages that must not be lost (cancel, shutdown): they may pass the capacity. False only
  // when closed.
  bool SendAlways(T&& message) { return Send(std::move(message), SIZE_MAX); }

  // Moves everything that has arrived into `out` (cleared first).
  void Drain(std::vector<T>& out) {
    out.clear();
    std::lock_guard lock(mutex_);
    out.swap(messages_);
  }

  // Returns when a message is there or the mailbox is closed; or after `timeout`.
  template <typename Rep, typename Period>
  void WaitFor(std::chrono::duration<Rep, Period> timeout) {
    std::unique_lock lock(mutex_);
    arrived_.wait_for(lock, timeout, [this] { return !messages_.empty() || closed_; });
  }

  void Close() {
    {
      std::lock_guard lock(mutex_);
      closed_ = true;
    }
    arrived_.notify_all();
  }

 private:
  bool Send(T&& message, size_t capacity) {
    {
      std::lock_guard lock(mutex_);
      if (closed_ || messages_.size() >= capacity) return false;
      messages_.push_back(std::move(message));
    }
    arrived_.notify_one();
    return true;
  }

  const size_t capacity_;
  std::mutex mutex_;
  std::condition_variable arrived_;
  std::vector<T> messages_;
  bool closed_ = false;
};

}  // namespace lorry
