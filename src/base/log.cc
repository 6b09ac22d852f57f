#include "base/log.h"

#include <spdlog/sinks/stdout_color_sinks.h>
#include <spdlog/spdlog.h>

#include <atomic>
#include <cstdint>
#include <optional>

namespace lorry::log {
namespace {

std::atomic<Format> g_format{Format::kText};

spdlog::logger& Logger() {
  static auto logger = [] {
    auto made = spdlog::stderr_color_mt("lorry");
    made->set_pattern("%Y-%m-%d %H:%M:%S.%e %^%l%$ %v");
    return made;
  }();
  return *logger;
}

spdlog::level::level_enum ToSpdlog(Level level) {
  switch (level) {
    case Level::kDebug:
      return spdlog::level::debug;
    case Level::kInfo:
      return spdlog::level::info;
    case Level::kWarning:
      return spdlog::level::warn;
    case Level::kError:
      return spdlog::level::err;
    case Level::kOff:
      return spdlog::level::off;
  }
  return spdlog::level::info;
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
  if (byte(0) != 0xe2 || (byte(1) != 0x80 && byte(1) != 0x81)) return std::nullopt;
  const uint32_t code = 0x2000 | (byte(1) & 0x3f) << 6 | (byte(2) & 0x3f);
  const bool is_hidden = code == 0x200e || code == 0x200f || (code >= 0x2028 && code <= 0x202e) ||
                         (code >= 0x2066 && code <= 0x2069);
  if (!is_hidden || byte(2) < 0x80 || byte(2) >= 0xc0) return std::nullopt;
  return Character{code, 3};
}

// A line stays one line, and no terminal obeys it, whatever names and paths of others say.
std::string Escaped(std::string_view text, bool for_json) {
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

}  // namespace

void Configure(const Options& options) {
  Logger().set_level(ToSpdlog(options.level));
  g_format = options.format;
  if (options.format == Format::kJson) {
    Logger().set_pattern(R"({"time":"%Y-%m-%dT%H:%M:%S.%e%z","level":"%l",%v})");
  } else {
    Logger().set_pattern("%Y-%m-%d %H:%M:%S.%e %^%l%$ %v");
  }
}

void Write(Level level, std::string_view message) {
  if (g_format == Format::kJson) {
    Logger().log(ToSpdlog(level), "\"message\":\"{}\"", Escaped(message, true));
  } else {
    Logger().log(ToSpdlog(level), "{}", Escaped(message, false));
  }
}

void WriteFields(Level level, std::string_view text, std::string_view json_members) {
  const std::string_view line = g_format == Format::kJson ? json_members : text;
  Logger().log(ToSpdlog(level), "{}",
               Escaped(line, false));  // JSON's strings may hold "\u009b" too
}

void Flush() { Logger().flush(); }

}  // namespace lorry::log
