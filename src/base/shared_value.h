// SharedValue<T>: an immutable value that is replaced as a whole while others read it. In place of
// std::atomic<std::shared_ptr>: the load of libstdc++ 12 ends with an unlock that orders nothing.
// Thread: any; the lock is held while a pointer is copied, and no value ends under it.
#pragma once

#include <memory>
#include <mutex>

namespace lorry {

template <typename T>
class SharedValue {
 public:
  std::shared_ptr<const T> Get() const {
    const std::lock_guard lock(mutex_);
    return value_;
  }

  void Set(std::shared_ptr<const T> value) {
    const std::lock_guard lock(mutex_);
    value_.swap(value);
  }

  // False, and `expected` is what is there instead: somebody else was faster.
  bool ReplaceIf(std::shared_ptr<const T>& expected, std::shared_ptr<const T> value) {
    const std::lock_guard lock(mutex_);
    if (value_ != expected) {
      expected = value_;
      return false;
    }
    value_.swap(value);
    return true;
  }

 private:
  mutable std::mutex mutex_;
  std::shared_ptr<const T> value_;
};

}  // namespace lorry
