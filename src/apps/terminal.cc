#include "apps/terminal.h"

#include <poll.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <utility>

namespace lorry::apps {
namespace {

constexpr char kEnter[] = "\033[?1049h\033[?25l";  // a screen of its own, no cursor
constexpr char kLeave[] = "\033[?25h\033[?1049l";

void WriteAll(std::string_view text) {
  while (!text.empty()) {
    const ssize_t count = ::write(STDOUT_FILENO, text.data(), text.size());
    if (count <= 0) return;  // it has gone away: the next key says so
    text.remove_prefix(static_cast<size_t>(count));
  }
}

}  // namespace

std::optional<Terminal> Terminal::Open() {
  termios before;
  if (isatty(STDOUT_FILENO) != 1 || tcgetattr(STDIN_FILENO, &before) != 0) return std::nullopt;
  return Terminal(before);
}

Terminal::Terminal(const termios& before) : before_(before) {
  termios raw = before;
  raw.c_lflag &= ~static_cast<tcflag_t>(ICANON | ECHO | ISIG);  // Ctrl-C is a key
  raw.c_cc[VMIN] = 0;
  raw.c_cc[VTIME] = 0;
  tcsetattr(STDIN_FILENO, TCSANOW, &raw);
  struct sigaction action = {};
  action.sa_handler = [](int) {};  // it only has to end a wait
  sigaction(SIGWINCH, &action, nullptr);
  WriteAll(kEnter);
}

Terminal::Terminal(Terminal&& other) noexcept : before_(std::exchange(other.before_, {})) {}

Terminal::~Terminal() {
  if (!before_) return;
  WriteAll(kLeave);
  tcsetattr(STDIN_FILENO, TCSANOW, &*before_);
  signal(SIGWINCH, SIG_DFL);
}

TopSize Terminal::Size() const {
  winsize size = {};
  if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) != 0 || size.ws_col == 0 || size.ws_row == 0) {
    return {80, 24};
  }
  return {size.ws_col, size.ws_row};
}

void Terminal::Draw(const std::vector<std::string>& lines) {
  std::string frame = "\033[H";
  for (size_t i = 0; i < lines.size(); ++i) {
    if (i > 0) frame += "\r\n";
    frame += lines[i] + "\033[K";
  }
  WriteAll(frame + "\033[J");
}

std::optional<char> Terminal::WaitKey(std::chrono::milliseconds limit) {
  constexpr char kEndOfInput = 'q';
  pollfd input = {STDIN_FILENO, POLLIN, 0};
  if (poll(&input, 1, static_cast<int>(limit.count())) <= 0) return std::nullopt;
  char key = 0;
  return ::read(STDIN_FILENO, &key, 1) == 1 ? key : kEndOfInput;
}

}  // namespace lorry::apps
