#include "base/spare_memory.h"

#include <sys/mman.h>

namespace lorry {

SpareMemory& SpareMemory::Instance() {
  static auto* spares = new SpareMemory;  // buffers of static storage may end after it
  return *spares;
}

bool SpareMemory::Put(std::byte* data, size_t num_bytes) {
  if (num_bytes < kLeastBytes) return false;
  const std::lock_guard lock(mutex_);
  if (num_bytes_ + num_bytes > max_bytes_) return false;
  num_bytes_ += num_bytes;
  pieces_.push_back({data, num_bytes});
  return true;
}

std::byte* SpareMemory::Take(size_t num_bytes) {
  if (num_bytes < kLeastBytes) return nullptr;
  const std::lock_guard lock(mutex_);
  auto best = pieces_.end();
  for (auto piece = pieces_.begin(); piece != pieces_.end(); ++piece) {
    if (piece->second < num_bytes) continue;
    if (best == pieces_.end() || piece->second < best->second) best = piece;
  }
  if (best == pieces_.end()) return nullptr;
  const auto [data, piece_bytes] = *best;
  const size_t rest = piece_bytes - num_bytes;
  if (rest >= kLeastBytes) {
    *best = {data + num_bytes, rest};
    num_bytes_ -= num_bytes;
    return data;
  }
  pieces_.erase(best);
  num_bytes_ -= piece_bytes;
  if (rest > 0) munmap(data + num_bytes, rest);
  return data;
}

bool SpareMemory::HasRoomFor(size_t num_bytes) {
  const std::lock_guard lock(mutex_);
  return num_bytes_ + num_bytes <= max_bytes_;
}

void SpareMemory::SetMaxBytes(size_t num_bytes) {
  const std::lock_guard lock(mutex_);
  max_bytes_ = num_bytes;
}

size_t SpareMemory::max_bytes() {
  const std::lock_guard lock(mutex_);
  return max_bytes_;
}

}  // namespace lorry
