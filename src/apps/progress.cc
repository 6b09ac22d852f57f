#include "apps/progress.h"

#include <fmt/core.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>

#include "base/log.h"
#include "config/value.h"

namespace lorry::apps {
namespace {

constexpr size_t kBarCells = 30;
constexpr Micros kBarInterval = 100000;    // 10 a second look smooth
constexpr Micros kLineInterval = 5000000;  // a log should not fill with them

}  // namespace

std::string ProgressBar(size_t done_bytes, size_t total_bytes) {
  const double share =
      total_bytes == 0 ? 1 : std::min(1.0, static_cast<double>(done_bytes) / total_bytes);
  const auto cells = static_cast<size_t>(share * kBarCells);
  return fmt::format("[{:#<{}}{:.<{}}] {} of {}", "", cells, "", kBarCells - cells,
                     config::RoundBytes(done_bytes), config::RoundBytes(total_bytes));
}

Progress::Progress(std::string what, const Clock& clock)
    : what_(log::Escaped(what)),
      clock_(clock),
      is_terminal_(isatty(STDERR_FILENO) == 1),
      start_us_(clock.NowUs()),
      shown_us_(start_us_) {}

Progress::~Progress() {
  if (bar_drawn_) fmt::print(stderr, "\r\033[K");
}

void Progress::Update(size_t done_bytes, size_t total_bytes) {
  const Micros now_us = clock_.NowUs();
  if (now_us - shown_us_ < (is_terminal_ ? kBarInterval : kLineInterval)) return;
  shown_us_ = now_us;
  if (is_terminal_) {
    fmt::print(stderr, "\r\033[K{} {}", what_, ProgressBar(done_bytes, total_bytes));
    std::fflush(stderr);
    bar_drawn_ = true;
  } else {
    log::Info("{}: {} of {}", what_, config::RoundBytes(done_bytes),
              config::RoundBytes(total_bytes));
  }
}

}  // namespace lorry::apps
