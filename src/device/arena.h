// Cuts one buffer into aligned pieces. Without a buffer it only counts, so that one walk over what
// is needed both sizes the buffer and places the pieces.
#pragma once

#include <cstddef>

namespace lorry {

class Arena {
 public:
  explicit Arena(std::byte* base) : base_(base) {}

  template <typename T>
  T* Take(size_t count) {
    constexpr size_t kAlignment = 64;
    std::byte* piece = base_ == nullptr ? nullptr : base_ + used_bytes_;
    used_bytes_ += (count * sizeof(T) + kAlignment - 1) / kAlignment * kAlignment;
    return reinterpret_cast<T*>(piece);
  }
  size_t used_bytes() const { return used_bytes_; }

 private:
  std::byte* base_;
  size_t used_bytes_ = 0;
};

}  // namespace lorry
