#include "base/log.h"

#include <spdlog/sinks/stdout_color_sinks.h>
#include <spdlog/spdlog.h>

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

std::string JsonEscaped(std::string_view text) {
  std::string out;
  for (unsigned char c : text) {
    if (c == '"' || c == '\\') {
      out += '\\';
      out += static_cast<char>(c);
    } else if (c < 0x20) {
      out += fmt::format("\\u{:04x}", c);
    } else {
      out += static_cast<char>(c);
    }
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
    Logger().log(ToSpdlog(level), "\"message\":\"{}\"", JsonEscaped(message));
  } else {
    Logger().log(ToSpdlog(level), "{}", message);
  }
}

void WriteFields(Level level, std::string_view text, std::string_view json_members) {
  Logger().log(ToSpdlog(level), "{}", g_format == Format::kJson ? json_members : text);
}

void Flush() { Logger().flush(); }

}  // namespace lorry::log
