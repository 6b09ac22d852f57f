#include "net/shared_bytes.h"

#include "net/http_connection.h"

namespace lorry::net {

std::vector<std::shared_ptr<HttpConnection>> SharedBytes::Hold(
    const std::shared_ptr<HttpConnection>& holder, size_t num_bytes) {
  std::vector<std::shared_ptr<HttpConnection>> giving_up;
  std::lock_guard lock(mutex_);
  const auto [entry, is_new] = held_.try_emplace(holder.get());
  if (is_new) {
    entry->second.turn = next_turn_++;
    by_turn_.emplace(entry->second.turn, holder);
  }
  num_bytes_ += num_bytes - entry->second.num_bytes;
  entry->second.num_bytes = num_bytes;
  while (num_bytes_ > max_bytes_ && by_turn_.size() > 1) {
    const auto oldest = by_turn_.begin();
    // Whoever holds is alive: its destructor would have released.
    std::shared_ptr<HttpConnection> connection = oldest->second.lock();
    by_turn_.erase(oldest);
    if (!connection) continue;
    const auto held = held_.find(connection.get());
    num_bytes_ -= held->second.num_bytes;
    held_.erase(held);
    giving_up.push_back(std::move(connection));
  }
  return giving_up;
}

void SharedBytes::Release(const HttpConnection* holder) {
  std::lock_guard lock(mutex_);
  const auto found = held_.find(holder);
  if (found == held_.end()) return;
  num_bytes_ -= found->second.num_bytes;
  by_turn_.erase(found->second.turn);
  held_.erase(found);
}

}  // namespace lorry::net
