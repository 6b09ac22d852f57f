// SpareMemory: mapped memory that has been touched and that nobody uses at the moment. To give such
// memory back is dear: on a virtual machine a fresh 10 MB can take 18 ms, more than an adapter's
// whole way through the loader.
// Owns: the memory that lies in it, a bounded number of bytes. Thread: any. Never: promises zeros.
#pragma once

#include <cstddef>
#include <mutex>
#include <utility>
#include <vector>

namespace lorry {

class SpareMemory {
 public:
  static constexpr size_t kLeastBytes = size_t{2} << 20;  // a huge page; less is not worth it

  // The process's; it is never destroyed.
  static SpareMemory& Instance();

  // Memory of mmap's, whole pages. False: it stays the caller's to unmap.
  bool Put(std::byte* data, size_t num_bytes);
  // num_bytes, whole pages, cut from the smallest piece that is large enough; null: none is. The
  // caller unmaps it or puts it back.
  std::byte* Take(size_t num_bytes);
  bool HasRoomFor(size_t num_bytes);

  void SetMaxBytes(size_t num_bytes);
  size_t max_bytes();

 private:
  std::mutex mutex_;
  std::vector<std::pair<std::byte*, size_t>> pieces_;
  size_t num_bytes_ = 0;
  size_t max_bytes_ = size_t{64} << 20;
};

}  // namespace lorry
