// The whole terminal as a picture that is drawn anew, and its keys one by one.
// Owns: the terminal's modes from Open until it goes, which leaves all as it was. Thread: one.
#pragma once

#include <sys/types.h>
#include <termios.h>

#include <chrono>
#include <optional>
#include <string>
#include <vector>

#include "apps/top_view.h"

namespace lorry::apps {

class Terminal {
 public:
  // nullopt: in- or output is no terminal.
  static std::optional<Terminal> Open();
  Terminal(Terminal&& other) noexcept;
  Terminal& operator=(Terminal&&) = delete;
  ~Terminal();

  TopSize Size() const;  // as it is now
  void Draw(const std::vector<std::string>& lines);
  // The next key; nullopt after `limit`, or at once when the size changes or a signal comes.
  std::optional<char> WaitKey(std::chrono::milliseconds limit);

 private:
  explicit Terminal(const termios& before);

  std::optional<termios> before_;  // nullopt: moved away
};

}  // namespace lorry::apps
