// Buffer: owned device memory. On the CPU an anonymous mapping that asks for huge pages (they are
// worth about a third of the read rate of large weights), zeroed and resident only where it was
// touched.
// Thread: any.
#pragma once

#include <cstddef>
#include <utility>

#include "base/result.h"

namespace lorry {

class Buffer {
 public:
  Buffer() = default;
  ~Buffer();
  Buffer(Buffer&& other) noexcept { *this = std::move(other); }
  Buffer& operator=(Buffer&& other) noexcept {
    std::swap(data_, other.data_);
    std::swap(num_bytes_, other.num_bytes_);
    return *this;
  }

  // 64-byte aligned (page-aligned in fact), zeroed. kResourceExhausted when the system refuses.
  static Result<Buffer> Allocate(size_t num_bytes);
  // The same, but whatever an earlier buffer of this process left may stand in it
  // (base/spare_memory.h).
  static Result<Buffer> AllocateUnzeroed(size_t num_bytes);

  // Touches so much ahead of time. False: there is enough, or the system refused.
  static bool MakeSpare(size_t num_bytes);

  std::byte* data() const { return data_; }
  size_t num_bytes() const { return num_bytes_; }
  template <typename T>
  T* As() const {
    return reinterpret_cast<T*>(data_);
  }

 private:
  std::byte* data_ = nullptr;
  size_t num_bytes_ = 0;
};

}  // namespace lorry
