// BodyBudget: bytes that the bodies of some requests may have together.
// Owns: the count, with the shares that are out.
// Thread: any.
#pragma once

#include <atomic>
#include <cstddef>
#include <memory>
#include <utility>

namespace lorry::server {

class BodyBudget {
 public:
  explicit BodyBudget(size_t max_bytes) : max_bytes_(max_bytes) {}

  // What one body has of a budget; given back at its end.
  class Share {
   public:
    Share() = default;
    Share(Share&& other) noexcept { Swap(other); }
    Share& operator=(Share&& other) noexcept {
      Share taken(std::move(other));
      Swap(taken);
      return *this;
    }
    ~Share() {
      if (total_ != nullptr) *total_ -= num_bytes_;
    }

   private:
    friend class BodyBudget;
    using Total = std::shared_ptr<std::atomic<size_t>>;

    Share(Total total, size_t num_bytes) : total_(std::move(total)), num_bytes_(num_bytes) {}
    void Swap(Share& other) {
      total_.swap(other.total_);
      std::swap(num_bytes_, other.num_bytes_);
    }

    Total total_;  // null: of none
    size_t num_bytes_ = 0;
  };

  // False: there is no room; a lone body may be larger than all of it. What `share` had of another
  // budget goes back.
  bool Reserve(size_t num_bytes, Share& share) {
    if (share.total_ == total_) return true;
    size_t before = *total_;
    do {
      if (before > 0 && before + num_bytes > max_bytes_) return false;
    } while (!total_->compare_exchange_weak(before, before + num_bytes));
    share = Share(total_, num_bytes);
    return true;
  }

  size_t max_bytes() const { return max_bytes_; }

 private:
  const size_t max_bytes_;
  const Share::Total total_ = std::make_shared<std::atomic<size_t>>(0);
};

}  // namespace lorry::server
