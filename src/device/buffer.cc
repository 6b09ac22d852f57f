#include "device/buffer.h"

#include <sys/mman.h>

#include <cerrno>
#include <cstring>
#include <mutex>
#include <utility>
#include <vector>

namespace lorry {
namespace {

constexpr size_t kHugePage = size_t{2} << 20;

constexpr size_t kSystemPage = 4096;

size_t RoundUp(size_t num_bytes, size_t unit) { return (num_bytes + unit - 1) / unit * unit; }

// Mapped memory whose buffers have ended.
class Spares {
 public:
  // False: the caller unmaps it.
  bool Put(std::byte* data, size_t num_bytes) {
    if (num_bytes < kHugePage) return false;
    const std::lock_guard lock(mutex_);
    if (total_bytes_ + num_bytes > max_bytes_) return false;
    total_bytes_ += num_bytes;
    spares_.push_back({data, num_bytes});
    return true;
  }

  // The front of the smallest that is large enough; null: none is.
  std::byte* Take(size_t num_bytes) {
    if (num_bytes < kHugePage) return nullptr;
    const std::lock_guard lock(mutex_);
    auto best = spares_.end();
    for (auto spare = spares_.begin(); spare != spares_.end(); ++spare) {
      if (spare->second < num_bytes) continue;
      if (best == spares_.end() || spare->second < best->second) best = spare;
    }
    if (best == spares_.end()) return nullptr;
    std::byte* data = best->first;
    total_bytes_ -= best->second;
    const auto rest = std::pair(data + num_bytes, best->second - num_bytes);
    spares_.erase(best);
    if (rest.second >= kHugePage) {
      total_bytes_ += rest.second;
      spares_.push_back(rest);
    } else if (rest.second > 0) {
      munmap(rest.first, rest.second);
    }
    return data;
  }

  bool HasRoomFor(size_t num_bytes) {
    const std::lock_guard lock(mutex_);
    return total_bytes_ + num_bytes <= max_bytes_;
  }

  void SetMaxBytes(size_t num_bytes) {
    const std::lock_guard lock(mutex_);
    max_bytes_ = num_bytes;
  }

  size_t max_bytes() {
    const std::lock_guard lock(mutex_);
    return max_bytes_;
  }

 private:
  std::mutex mutex_;
  std::vector<std::pair<std::byte*, size_t>> spares_;
  size_t total_bytes_ = 0;
  size_t max_bytes_ = size_t{64} << 20;
};

// Never destroyed: buffers of static storage may end after it.
Spares& TheSpares() {
  static auto* spares = new Spares;
  return *spares;
}

}  // namespace

Buffer::~Buffer() {
  if (data_ != nullptr && !TheSpares().Put(data_, num_bytes_)) munmap(data_, num_bytes_);
}

void Buffer::SetMaxSpareBytes(size_t num_bytes) { TheSpares().SetMaxBytes(num_bytes); }

size_t Buffer::max_spare_bytes() { return TheSpares().max_bytes(); }

bool Buffer::MakeSpare(size_t num_bytes) {
  if (!TheSpares().HasRoomFor(num_bytes)) return false;
  const Result<Buffer> buffer = Allocate(num_bytes);
  if (!buffer) return false;
  for (size_t i = 0; i < buffer->num_bytes(); i += kSystemPage) buffer->data()[i] = std::byte{0};
  return true;
}

Result<Buffer> Buffer::AllocateUnzeroed(size_t num_bytes) {
  const size_t rounded = RoundUp(num_bytes, kSystemPage);
  std::byte* data = TheSpares().Take(rounded);
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
