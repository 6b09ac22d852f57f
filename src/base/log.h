// Logging: one line an event, as text or JSON, to stderr.
// Thread: any. Never: in kernels, or per token.
#pragma once

#include <fmt/core.h>

#include <string>
#include <string_view>

namespace lorry::log {

enum class Level { kDebug, kInfo, kWarning, kError, kOff };
enum class Format { kText, kJson };

struct Options {
  Level level = Level::kInfo;
  Format format = Format::kText;
};

void Configure(const Options& options);
void Write(Level level, std::string_view message);
// One access-log or event line with fields that are already JSON members ("\"status\":200"), used
// by Format::kJson, and as text, used by Format::kText.
void WriteFields(Level level, std::string_view text, std::string_view json_members);
void Flush();

template <typename... Args>
void Debug(fmt::format_string<Args...> format, Args&&... args) {
  Write(Level::kDebug, fmt::format(format, std::forward<Args>(args)...));
}
template <typename... Args>
void Info(fmt::format_string<Args...> format, Args&&... args) {
  Write(Level::kInfo, fmt::format(format, std::forward<Args>(args)...));
}
template <typename... Args>
void Warning(fmt::format_string<Args...> format, Args&&... args) {
  Write(Level::kWarning, fmt::format(format, std::forward<Args>(args)...));
}
template <typename... Args>
void Error(fmt::format_string<Args...> format, Args&&... args) {
  Write(Level::kError, fmt::format(format, std::forward<Args>(args)...));
}

}  // namespace lorry::log
