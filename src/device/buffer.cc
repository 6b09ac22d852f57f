#include "device/buffer.h"

#include <sys/mman.h>

#include <cerrno>
#include <cstring>

#include "base/background.h"
#include "base/spare_memory.h"

namespace lorry {
namespace {

constexpr size_t kHugePage = size_t{2} << 20;

constexpr size_t kSystemPage = 4096;

size_t RoundUp(size_t num_bytes, size_t unit) { return (num_bytes + unit - 1) / unit * unit; }

}  // namespace

Buffer::~Buffer() {
  if (data_ != nullptr && !SpareMemory::Instance().Put(data_, num_bytes_))
    munmap(data_, num_bytes_);
}

bool Buffer::MakeSpare(size_t num_bytes) {
  if (num_bytes == 0 || !SpareMemory::Instance().HasRoomFor(num_bytes)) return false;
  const Result<Buffer> buffer = Allocate(num_bytes);
  if (!buffer) return false;
  for (size_t i = 0; i < buffer->num_bytes(); i += kSystemPage) {
    LetOthersRun();
    buffer->data()[i] = std::byte{0};
  }
  return true;
}

Result<Buffer> Buffer::AllocateUnzeroed(size_t num_bytes) {
  const size_t rounded = RoundUp(num_bytes, kSystemPage);
  std::byte* data = SpareMemory::Instance().Take(rounded);
  if (data == nullptr) return Allocate(num_bytes);
  Buffer buffer;
  buffer.data_ = data;
  buffer.num_bytes_ = rounded;
  return buffer;
}

Result<Buffer> Buffer::Allocate(size_t num_bytes) {
  Buffer buffer;
  if (num_bytes == 0) return buffer;
  const size_t rounded = RoundUp(num_bytes, kSystemPage);
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
