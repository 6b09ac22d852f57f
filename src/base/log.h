// Logging: one line an event, as text or JSON, to stderr. A thread of its own writes the lines, so
// that a reader who stalls costs lines and holds nobody.
// Thread: any. Never: in kernels, or per token.
#pragma once

#include <fmt/core.h>

#include <chrono>
#include <cstdint>
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
// The same of a table, whose rows stay lines: there is nothing of other people's in it.
void WriteTable(Level level, std::string_view rows, std::string_view json_members);
// A line that a command says to whoever started it: without time and level, whatever the level.
void WritePlain(std::string_view text);

// `text` without control characters: it stays one line, and no terminal obeys it.
std::string Escaped(std::string_view text);

// Before the process ends, and wherever another output shall come after what was logged. False:
// the reader had not taken it after `limit`.
bool Flush(std::chrono::milliseconds limit = std::chrono::seconds(2));

uint64_t NumDroppedLines();

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
