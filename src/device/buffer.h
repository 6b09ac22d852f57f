// Buffer: owned device memory. On the CPU an anonymous mapping that asks for huge pages (they are
// worth about a third of the read rate of large weights), zeroed and resident only where it was
// touched.
// Memory that the process has touched before is dear to give back: on a virtual machine a fresh
// 10 MB can take 18 ms, more than an adapter's whole way through the loader. So some memory of
// buffers that have ended stays, for those that need no zeros.
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
  // The same, but whatever an earlier buffer of this process left may stand in it; of at least
  // num_bytes.
  static Result<Buffer> AllocateUnzeroed(size_t num_bytes);

  // What is kept for AllocateUnzeroed, at most: 64 MiB unless told.
  static void SetMaxSpareBytes(size_t num_bytes);
  static size_t max_spare_bytes();
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
