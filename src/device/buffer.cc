#include "device/buffer.h"

#include <sys/mman.h>

#include <cerrno>
#include <cstring>

namespace lorry {

Buffer::~Buffer() {
  if (data_ != nullptr) munmap(data_, num_bytes_);
}

Result<Buffer> Buffer::Allocate(size_t num_bytes) {
  constexpr size_t kHugePage = size_t{2} << 20;
  Buffer buffer;
  if (num_bytes == 0) return buffer;
  const size_t rounded = (num_bytes + 4095) / 4096 * 4096;
  // Large buffers start on a huge-page boundary: map one more and give the ends back.
  const bool huge = rounded >= kHugePage;
  const size_t mapped = huge ? rounded + kHugePage : rounded;
  void* start = mmap(nullptr, mapped, PROT_READ | PROT_WRITE,
                     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (start == MAP_FAILED) {
    return Fail(
        ErrorCode::kResourceExhausted,
        fmt::format("the system refused {} bytes of memory: {}", num_bytes, std::strerror(errno)));
  }
  auto* data = static_cast<std::byte*>(start);
  if (huge) {
    const auto address = reinterpret_cast<uintptr_t>(start);
    const size_t skip = (kHugePage - address % kHugePage) % kHugePage;
    if (skip > 0) munmap(data, skip);
    if (kHugePage - skip > 0) munmap(data + skip + rounded, kHugePage - skip);
    data += skip;
    madvise(data, rounded, MADV_HUGEPAGE);
  }
  buffer.data_ = data;
  buffer.num_bytes_ = rounded;
  return buffer;
}

}  // namespace lorry
