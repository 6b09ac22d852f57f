#include "net/connection_table.h"

#include "net/http_connection.h"

namespace lorry::net {
std::optional<ConnectionTable::Departure> ConnectionTable::Add(
    const std::shared_ptr<HttpConnection>& connection) {
  std::lock_guard lock(mutex_);
  std::optional<Departure> departure;
  if (newcomers_.size() >= max_newcomers_) departure = DismissFirst();
  newcomers_.push_back(connection.get());
  entries_[connection.get()] = {connection, Standing::kNewcomer, std::prev(newcomers_.end())};
  return departure;
}

bool ConnectionTable::Admit(HttpConnection* connection) {
  std::lock_guard lock(mutex_);
  const auto found = entries_.find(connection);
  // One that was told to go has shown its key in the last moment: it may stay as well.
  if (found == entries_.end() || found->second.standing == Standing::kAdmitted) return true;
  if (num_admitted_ >= max_admitted_) return false;
  if (found->second.standing == Standing::kNewcomer) newcomers_.erase(found->second.newcomer);
  if (found->second.standing == Standing::kLeaving) --num_leaving_;
  found->second.standing = Standing::kAdmitted;
  ++num_admitted_;
  return true;
}

std::optional<ConnectionTable::Departure> ConnectionTable::DismissOldestNewcomer() {
  std::lock_guard lock(mutex_);
  return DismissFirst();
}

std::optional<ConnectionTable::Departure> ConnectionTable::DismissFirst() {
  while (!newcomers_.empty()) {
    Entry& entry = entries_.at(newcomers_.front());
    newcomers_.pop_front();
    entry.standing = Standing::kLeaving;
    ++num_leaving_;
    if (auto connection = entry.connection.lock()) {
      return Departure{std::move(connection), num_leaving_ > max_leaving_};
    }
  }
  return std::nullopt;
}

void ConnectionTable::Remove(HttpConnection* connection) {
  std::lock_guard lock(mutex_);
  const auto found = entries_.find(connection);
  if (found == entries_.end()) return;
  if (found->second.standing == Standing::kNewcomer) newcomers_.erase(found->second.newcomer);
  if (found->second.standing == Standing::kAdmitted) --num_admitted_;
  if (found->second.standing == Standing::kLeaving) --num_leaving_;
  entries_.erase(found);
  if (entries_.empty()) none_left_.notify_all();
}

std::vector<std::shared_ptr<HttpConnection>> ConnectionTable::All() const {
  std::vector<std::shared_ptr<HttpConnection>> connections;
  std::lock_guard lock(mutex_);
  for (const auto& [address, entry] : entries_) {
    if (auto connection = entry.connection.lock()) connections.push_back(std::move(connection));
  }
  return connections;
}

int ConnectionTable::size() const {
  std::lock_guard lock(mutex_);
  return static_cast<int>(entries_.size());
}

bool ConnectionTable::WaitUntilNone(std::chrono::milliseconds limit) {
  std::unique_lock lock(mutex_);
  return none_left_.wait_for(lock, limit, [this] { return entries_.empty(); });
}

}  // namespace lorry::net
