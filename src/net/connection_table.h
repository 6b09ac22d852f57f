// ConnectionTable: the places of a server's connections. Those that have been admitted (a request
// of theirs showed a key, or whatever the server asks for) keep theirs; newcomers have places of
// their own, and the oldest newcomer makes room for the next.
// Owns: the table, no connection. Thread: any.
#pragma once

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <list>
#include <memory>
#include <mutex>
#include <optional>
#include <unordered_map>
#include <vector>

namespace lorry::net {

class HttpConnection;

// Newcomers that made room and are still being told so, of so many that there may be.
constexpr size_t MaxLeaving(size_t max_newcomers) {
  return std::min<size_t>(max_newcomers / 4 + 1, 256);
}

class ConnectionTable {
 public:
  ConnectionTable(int max_admitted, int max_newcomers)
      : max_admitted_(static_cast<size_t>(max_admitted)),
        max_newcomers_(static_cast<size_t>(max_newcomers)),
        max_leaving_(MaxLeaving(max_newcomers_)) {}

  struct Departure {
    std::shared_ptr<HttpConnection> connection;
    bool is_abrupt = false;  // too many are on their way out already to let it hear why
  };

  // Takes a newcomer in; another has to go, or nobody.
  std::optional<Departure> Add(const std::shared_ptr<HttpConnection>& connection);
  // A newcomer is one no longer. False: all places of admitted ones are taken.
  bool Admit(HttpConnection* connection);
  // The newcomer that came first is to go, so that its file descriptor is free.
  std::optional<Departure> DismissOldestNewcomer();
  void Remove(HttpConnection* connection);

  std::vector<std::shared_ptr<HttpConnection>> All() const;
  int size() const;
  bool WaitUntilNone(std::chrono::milliseconds limit);

 private:
  enum class Standing { kNewcomer, kAdmitted, kLeaving };
  struct Entry {
    std::weak_ptr<HttpConnection> connection;
    Standing standing = Standing::kNewcomer;
    std::list<HttpConnection*>::iterator newcomer;  // of kNewcomer: its place in newcomers_
  };

  std::optional<Departure> DismissFirst();  // under mutex_

  const size_t max_admitted_;
  const size_t max_newcomers_;
  const size_t max_leaving_;  // that are told why they have to go
  mutable std::mutex mutex_;  // guards what follows
  std::condition_variable none_left_;
  std::unordered_map<HttpConnection*, Entry> entries_;
  std::list<HttpConnection*> newcomers_;  // in the order that they came
  size_t num_admitted_ = 0;
  size_t num_leaving_ = 0;
};

}  // namespace lorry::net
