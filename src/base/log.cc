#include "base/log.h"

#include <spdlog/sinks/stdout_color_sinks.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <atomic>

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

// The bytes of the control character that `text` begins with: one of ASCII's or, in UTF-8, U+0080
// to U+009F; 0: it begins with another.
size_t ControlLength(std::string_view text) {
  const auto first = static_cast<unsigned char>(text[0]);
  if (first < 0x20 || first == 0x7f) return 1;
  const auto second = static_cast<unsigned char>(text.size() > 1 ? text[1] : 0);
  return first == 0xc2 && second >= 0x80 && second < 0xa0 ? 2 : 0;
}

// A line stays one line, and no terminal obeys it, whatever names and paths of others say.
std::string Escaped(std::string_view text, bool for_json) {
  std::string out;
  out.reserve(text.size());
  while (!text.empty()) {
    const size_t length = ControlLength(text);
    if (length > 0) {
      const auto code = static_cast<unsigned char>(text[length - 1]);
      out += fmt::format("\\u{:04x}", code);
    } else {
      if (for_json && (text[0] == '"' || text[0] == '\\')) out += '\\';
      out += text[0];
    }
    text.remove_prefix(std::max<size_t>(length, 1));
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
  Logger().log(ToSpdlog(level), "{}", g_format == Format::kJson ? json_members : text);
}

void Flush() { Logger().flush(); }

}  // namespace lorry::log
