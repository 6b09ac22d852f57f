// Shows how far a long step is: a bar on a terminal, a line every few seconds elsewhere.
// Owns: the bar's line on stderr while it lives. Thread: one.
#pragma once

#include <cstddef>
#include <string>

#include "base/clock.h"

namespace lorry::apps {

class Progress {
 public:
  explicit Progress(std::string what, const Clock& clock = Clock::Steady());
  ~Progress();  // clears the bar
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  void Update(size_t done_bytes, size_t total_bytes);
  double Seconds() const { return SecondsBetween(start_us_, clock_.NowUs()); }

 private:
  const std::string what_;
  const Clock& clock_;
  const bool is_terminal_;
  const Micros start_us_;
  Micros shown_us_;
  bool bar_drawn_ = false;
};

// "[#####.....] 269 MB of 538 MB" for a terminal.
std::string ProgressBar(size_t done_bytes, size_t total_bytes);

}  // namespace lorry::apps
