#include "base/log.h"

#include <fmt/chrono.h>
#include <unistd.h>

#include <atomic>
#include <cstdint>
#include <cstdlib>
#include <ctime>
#include <optional>

#include "base/line_writer.h"

namespace lorry::log {
namespace {

constexpr size_t kMaxWaitingBytes = 4 << 20;  // some 20,000 lines: seconds of a busy server

std::atomic<Level> g_level{Level::kInfo};
std::atomic<Format> g_format{Format::kText};
std::atomic<bool> g_has_colours{isatty(STDERR_FILENO) == 1};
std::atomic<LineWriter*> g_writer{nullptr};  // null: nothing was logged yet

struct LevelName {
  std::string_view name;
  std::string_view colour;  // a terminal's
};

LevelName NameOf(Level level) {
  switch (level) {
    case Level::kDebug:
      return {"debug", "\033[36m"};
    case Level::kInfo:
      return {"info", "\033[32m"};
    case Level::kWarning:
      return {"warning", "\033[33m\033[1m"};
    case Level::kError:
    case Level::kOff:
      break;
  }
  return {"error", "\033[31m\033[1m"};
}

struct Character {
  uint32_t code;
  size_t num_bytes;
};

// The character that `text` begins with where a line must not have it: a control (ASCII's, or
// U+0080 to U+009F), a line or paragraph separator, a mark that turns the direction of text.
std::optional<Character> LeadingControl(std::string_view text) {
  const auto byte = [&](size_t i) -> uint32_t {
    return i < text.size() ? static_cast<unsigned char>(text[i]) : 0;
  };
  if (byte(0) < 0x20 || byte(0) == 0x7f) return Character{byte(0), 1};
  if (byte(0) == 0xc2 && byte(1) >= 0x80 && byte(1) < 0xa0) return Character{byte(1), 2};
  if (byte(0) == 0xd8 && byte(1) == 0x9c) return Character{0x061c, 2};
  if (byte(0) != 0xe2 || (byte(1) != 0x80 && byte(1) != 0x81)) return std::nullopt;
  const uint32_t code = 0x2000 | (byte(1) & 0x3f) << 6 | (byte(2) & 0x3f);
  const bool is_hidden = code == 0x200e || code == 0x200f || (code >= 0x2028 && code <= 0x202e) ||
                         (code >= 0x2066 && code <= 0x2069);
  if (!is_hidden || byte(2) < 0x80 || byte(2) >= 0xc0) return std::nullopt;
  return Character{code, 3};
}

std::string EscapedFor(std::string_view text, bool for_json) {
  std::string out;
  out.reserve(text.size());
  while (!text.empty()) {
    const std::optional<Character> control = LeadingControl(text);
    if (control) {
      out += fmt::format("\\u{:04x}", control->code);
    } else {
      if (for_json && (text[0] == '"' || text[0] == '\\')) out += '\\';
      out += text[0];
    }
    text.remove_prefix(control ? control->num_bytes : 1);
  }
  return out;
}

std::string Line(Level level, std::string_view text_or_members) {
  const auto now = std::chrono::system_clock::now();
  const std::time_t seconds = std::chrono::system_clock::to_time_t(now);
  const auto ms =
      std::chrono::duration_cast<std::chrono::milliseconds>(now.time_since_epoch()).count() % 1000;
  std::tm day{};
  localtime_r(&seconds, &day);
  const LevelName shown = NameOf(level);
  if (g_format == Format::kJson) {
    const long zone_minutes = std::abs(day.tm_gmtoff) / 60;
    return fmt::format(R"({{"time":"{:%Y-%m-%dT%H:%M:%S}.{:03}{}{:02}:{:02}","level":"{}",{}}})"
                       "\n",
                       day, ms, day.tm_gmtoff < 0 ? '-' : '+', zone_minutes / 60, zone_minutes % 60,
                       shown.name, text_or_members);
  }
  return fmt::format("{:%Y-%m-%d %H:%M:%S}.{:03} {}{}{} {}\n", day, ms,
                     g_has_colours ? shown.colour : "", shown.name, g_has_colours ? "\033[m" : "",
                     text_or_members);
}

std::string MessageLine(Level level, std::string_view message) {
  if (g_format != Format::kJson) return Line(level, EscapedFor(message, false));
  return Line(level, fmt::format("\"message\":\"{}\"", EscapedFor(message, true)));
}

// Never destroyed: other threads may log until the process ends, and one that waits for a reader
// may not hold that up.
LineWriter& Writer() {
  static LineWriter& writer = *[] {
    auto* made = new LineWriter(
        {.descriptor = STDERR_FILENO,
         .max_waiting_bytes = kMaxWaitingBytes,
         .note = [](uint64_t count) {
           return MessageLine(Level::kWarning, fmt::format("{} lines were not written", count));
         }});
    g_writer = made;
    return made;
  }();
  return writer;
}

bool IsWanted(Level level) { return level >= g_level; }

}  // namespace

void Configure(const Options& options) {
  g_level = options.level;
  g_format = options.format;
  g_has_colours = isatty(STDERR_FILENO) == 1;
}

void Write(Level level, std::string_view message) {
  if (IsWanted(level)) Writer().Write(MessageLine(level, message));
}

void WriteFields(Level level, std::string_view text, std::string_view json_members) {
  const std::string_view line = g_format == Format::kJson ? json_members : text;
  if (IsWanted(level)) Writer().Write(Line(level, Escaped(line)));  // JSON's strings too
}

void WriteTable(Level level, std::string_view rows, std::string_view json_members) {
  if (g_format == Format::kJson) return WriteFields(level, "", json_members);
  if (IsWanted(level)) Writer().Write(Line(level, rows));
}

void WritePlain(std::string_view text) { Writer().Write(Escaped(text) + "\n"); }

std::string Escaped(std::string_view text) { return EscapedFor(text, false); }

bool Flush(std::chrono::milliseconds limit) {
  LineWriter* const writer = g_writer;
  return writer == nullptr || writer->Flush(limit);
}

uint64_t NumDroppedLines() {
  const LineWriter* const writer = g_writer;
  return writer == nullptr ? 0 : writer->num_dropped();
}

}  // namespace lorry::log
