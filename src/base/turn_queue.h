// TurnQueue<T>: bounded queue, many senders, many receivers. Messages may have a key: of each key
// one is out at a time, so that a slow one of it holds one receiver and no more. A full queue
// refuses, it never blocks a sender. Owns: what waits, and the keys that are out. Thread: any; a
// receiver calls Done when it is finished with what it took.
#pragma once

#include <algorithm>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <mutex>
#include <optional>
#include <utility>
#include <vector>

namespace lorry {

template <typename T>
class TurnQueue {
 public:
  using Key = uint64_t;
  static constexpr Key kNoKey = 0;  // any number of these may be out

  // What may wait, all together and of one key.
  TurnQueue(size_t capacity, size_t capacity_of_a_key)
      : capacity_(capacity), capacity_of_a_key_(capacity_of_a_key) {}

  // False: full (or closed); `message` is untouched then, so the sender still owns it.
  bool TrySend(Key key, T&& message) {
    {
      std::lock_guard lock(mutex_);
      if (closed_ || waiting_.size() >= capacity_) return false;
      if (key != kNoKey && NumWaiting(key) >= capacity_of_a_key_) return false;
      waiting_.push_back({key, std::move(message)});
    }
    changed_.notify_one();
    return true;
  }

  size_t capacity() const { return capacity_; }

  struct Turn {
    Key key = kNoKey;
    T message;
  };

  // The oldest message of a key that is not out; waits for one. Nothing: closed, and what waits is
  // dropped.
  std::optional<Turn> Take() {
    std::unique_lock lock(mutex_);
    while (!closed_) {
      const auto next = std::find_if(waiting_.begin(), waiting_.end(),
                                     [this](const Turn& turn) { return !IsOut(turn.key); });
      if (next == waiting_.end()) {
        changed_.wait(lock);
        continue;
      }
      std::optional<Turn> turn(std::move(*next));
      waiting_.erase(next);
      if (turn->key != kNoKey) out_.push_back(turn->key);
      return turn;
    }
    return std::nullopt;
  }

  void Done(Key key) {
    if (key == kNoKey) return;
    {
      std::lock_guard lock(mutex_);
      std::erase(out_, key);
    }
    changed_.notify_one();
  }

  void Close() {
    {
      std::lock_guard lock(mutex_);
      closed_ = true;
    }
    changed_.notify_all();
  }

 private:
  size_t NumWaiting(Key key) const {
    return static_cast<size_t>(std::count_if(waiting_.begin(), waiting_.end(),
                                             [key](const Turn& turn) { return turn.key == key; }));
  }
  bool IsOut(Key key) const {
    return key != kNoKey && std::find(out_.begin(), out_.end(), key) != out_.end();
  }

  const size_t capacity_;
  const size_t capacity_of_a_key_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<Turn> waiting_;
  std::vector<Key> out_;  // at most one a receiver
  bool closed_ = false;
};

}  // namespace lorry
