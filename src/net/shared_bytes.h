// SharedBytes: what many connections hold of one kind (unfinished headers, unfinished bodies), at
// most so many bytes together. Beyond that, whoever holds the longest is to give its up.
// Owns: the account. Thread: any. Never: asks the last holder to give up, who must have a chance.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <unordered_map>
#include <vector>

namespace lorry::net {

class HttpConnection;

class SharedBytes {
 public:
  explicit SharedBytes(size_t max_bytes) : max_bytes_(max_bytes) {}

  // `holder` has so many bytes now. Those who are to give up theirs, which no longer count; the
  // holder itself may be among them.
  std::vector<std::shared_ptr<HttpConnection>> Hold(const std::shared_ptr<HttpConnection>& holder,
                                                    size_t num_bytes);
  void Release(const HttpConnection* holder);

  size_t max_bytes() const { return max_bytes_; }

 private:
  struct Held {
    uint64_t turn = 0;
    size_t num_bytes = 0;
  };

  const size_t max_bytes_;
  std::mutex mutex_;  // guards what follows
  std::unordered_map<const HttpConnection*, Held> held_;
  std::map<uint64_t, std::weak_ptr<HttpConnection>> by_turn_;  // the oldest first
  uint64_t next_turn_ = 0;
  size_t num_bytes_ = 0;
};

}  // namespace lorry::net
