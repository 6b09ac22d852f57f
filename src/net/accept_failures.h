// What the log says of connections that cannot be accepted: when that begins, and when it is over.
// Thread: one at a time.
#pragma once

#include <fmt/format.h>

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

namespace lorry::net {

class AcceptFailures {
 public:
  using Time = std::chrono::steady_clock::time_point;

  // Each returns the line that is due. It is not over while one fails now and then: a place that
  // became free is taken at once.
  static constexpr std::chrono::seconds kQuiet{10};

  std::optional<std::string> Failed(Time now, std::string_view reason) {
    last_ = now;
    if (++num_failed_ > 1) return std::nullopt;
    return fmt::format(
        "cannot accept a connection: {}; the next line about it comes when it is over", reason);
  }

  std::optional<std::string> Accepted(Time now) {
    if (num_failed_ == 0 || now - last_ < kQuiet) return std::nullopt;
    return fmt::format("connections are accepted again; {} attempts had failed",
                       std::exchange(num_failed_, 0));
  }

 private:
  uint64_t num_failed_ = 0;  // since it began
  Time last_;
};

}  // namespace lorry::net
