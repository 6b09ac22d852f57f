// Pool<T>: objects that one thread at a time uses, and that wait here in between.
// Owns: those that wait.
// Thread: any.
#pragma once

#include <algorithm>
#include <cstddef>
#include <memory>
#include <mutex>
#include <utility>
#include <vector>

namespace lorry {

template <typename T>
class Pool {
 public:
  // The one that waits with the highest score(const T&), the last one put back of equals; null:
  // none waits.
  template <typename Score>
  std::unique_ptr<T> Take(const Score& score) {
    const std::lock_guard lock(mutex_);
    if (waiting_.empty()) return nullptr;
    const auto best =
        std::max_element(waiting_.rbegin(), waiting_.rend(),
                         [&](const auto& a, const auto& b) { return score(*a) < score(*b); });
    std::unique_ptr<T> taken = std::move(*best);
    waiting_.erase(std::next(best).base());
    return taken;
  }

  // Any that waits and is so; null: none is.
  template <typename Condition>
  std::unique_ptr<T> TakeIf(const Condition& is_so) {
    const std::lock_guard lock(mutex_);
    const auto found = std::ranges::find_if(waiting_, [&](const auto& one) { return is_so(*one); });
    if (found == waiting_.end()) return nullptr;
    std::unique_ptr<T> taken = std::move(*found);
    waiting_.erase(found);
    return taken;
  }

  // The object comes back to the caller if `max_waiting` wait already.
  std::unique_ptr<T> Put(std::unique_ptr<T> object, size_t max_waiting) {
    const std::lock_guard lock(mutex_);
    if (waiting_.size() >= max_waiting) return object;
    waiting_.push_back(std::move(object));
    return nullptr;
  }

  std::vector<std::unique_ptr<T>> TakeAll() {
    const std::lock_guard lock(mutex_);
    return std::exchange(waiting_, {});
  }

 private:
  std::mutex mutex_;
  std::vector<std::unique_ptr<T>> waiting_;
};

}  // namespace lorry
