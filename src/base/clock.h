// Time as a value that tests can move.
#pragma once

#include <chrono>
#include <cstdint>

namespace lorry {

using Micros = int64_t;

class Clock {
 public:
  virtual ~Clock() = default;
  virtual Micros NowUs() const = 0;  // monotonic

  static const Clock& Steady();  // the real one
};

class FakeClock : public Clock {
 public:
  Micros NowUs() const override { return now_us_; }
  void Advance(Micros us) { now_us_ += us; }

 private:
  Micros now_us_ = 0;
};

int64_t UnixSeconds();  // of the day, for people and protocols

inline double SecondsBetween(Micros from_us, Micros to_us) {
  return static_cast<double>(to_us - from_us) * 1e-6;
}

}  // namespace lorry
