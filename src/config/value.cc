#include "config/value.h"

#include <fmt/core.h>

#include <array>
#include <charconv>
#include <cmath>

namespace lorry::config {
namespace {

struct Unit {
  std::string_view name;
  double factor;
};

constexpr std::array kByteUnits = {
    Unit{"B", 1},        Unit{"kB", 1e3},     Unit{"KB", 1e3},     Unit{"MB", 1e6},
    Unit{"GB", 1e9},     Unit{"TB", 1e12},    Unit{"KiB", 0x1p10}, Unit{"kiB", 0x1p10},
    Unit{"MiB", 0x1p20}, Unit{"GiB", 0x1p30}, Unit{"TiB", 0x1p40}, Unit{"k", 1e3},
    Unit{"K", 0x1p10},   Unit{"M", 0x1p20},   Unit{"G", 0x1p30},   Unit{"T", 0x1p40},
};
constexpr std::array kTimeUnits = {
    Unit{"us", 1},   Unit{"ms", 1e3},   Unit{"s", 1e6},
    Unit{"m", 60e6}, Unit{"min", 60e6}, Unit{"h", 3600e6},
};

tl::unexpected<Error> NotUnderstood(std::string_view text, std::string_view expected) {
  return Fail(ErrorCode::kInvalidArgument, fmt::format("'{}' is not {}", text, expected));
}

// A number without sign, then a unit from the table or nothing, which counts as `bare_factor`.
template <size_t N>
Result<double> ParseQuantity(std::string_view text, const std::array<Unit, N>& units,
                             double bare_factor, std::string_view expected) {
  double number = 0;
  const char* end = text.data() + text.size();
  const auto [rest, error] = std::from_chars(text.data(), end, number, std::chars_format::fixed);
  if (error != std::errc() || !(number >= 0) || !std::isfinite(number)) {
    return NotUnderstood(text, expected);
  }
  std::string_view unit(rest, end - rest);
  while (!unit.empty() && unit.front() == ' ') unit.remove_prefix(1);
  double factor = bare_factor;
  if (!unit.empty()) {
    factor = 0;
    for (const Unit& known : units) {
      if (known.name == unit) factor = known.factor;
    }
    if (factor == 0) return NotUnderstood(text, expected);
  }
  // 2^53: beyond it a double is no longer exact.
  if (number * factor > 0x1p53) return NotUnderstood(text, expected);
  return number * factor;
}

}  // namespace

Result<bool> ParseSwitch(std::string_view text) {
  if (text == "true" || text == "on" || text == "yes" || text == "1") return true;
  if (text == "false" || text == "off" || text == "no" || text == "0") return false;
  return NotUnderstood(text, "true or false");
}

Result<int64_t> ParseInteger(std::string_view text) {
  int64_t value = 0;
  const char* end = text.data() + text.size();
  const auto [rest, error] = std::from_chars(text.data(), end, value);
  if (error != std::errc() || rest != end) return NotUnderstood(text, "a whole number");
  return value;
}

Result<double> ParseNumber(std::string_view text) {
  double value = 0;
  const char* end = text.data() + text.size();
  const auto [rest, error] = std::from_chars(text.data(), end, value);
  if (error != std::errc() || rest != end || !std::isfinite(value)) {
    return NotUnderstood(text, "a number");
  }
  return value;
}

Result<size_t> ParseBytes(std::string_view text) {
  ASSIGN_OR_RETURN(const double bytes,
                   ParseQuantity(text, kByteUnits, 1, "a size like 4096, 512MB or 2GiB"));
  return static_cast<size_t>(std::llround(bytes));
}

Result<Micros> ParseDuration(std::string_view text) {
  ASSIGN_OR_RETURN(const double duration_us,
                   ParseQuantity(text, kTimeUnits, 1e6, "a time like 500ms, 30s or 5m"));
  return static_cast<Micros>(std::llround(duration_us));
}

std::string ShowBytes(size_t bytes) {
  constexpr std::array kShown = {Unit{"GiB", 0x1p30}, Unit{"MiB", 0x1p20}, Unit{"KiB", 0x1p10}};
  for (const Unit& unit : kShown) {
    const auto factor = static_cast<size_t>(unit.factor);
    if (bytes >= factor && bytes % factor == 0) {
      return fmt::format("{}{}", bytes / factor, unit.name);
    }
  }
  return fmt::format("{}", bytes);
}

std::string ShowDuration(Micros duration_us) {
  if (duration_us % 1000000 == 0) return fmt::format("{}s", duration_us / 1000000);
  if (duration_us % 1000 == 0) return fmt::format("{}ms", duration_us / 1000);
  return fmt::format("{}us", duration_us);
}

std::string RoundBytes(size_t bytes) {
  if (bytes < 1000) return fmt::format("{} B", bytes);
  constexpr std::array<std::string_view, 4> kNames = {"kB", "MB", "GB", "TB"};
  double value = static_cast<double>(bytes) / 1000;
  size_t name_idx = 0;
  while (value >= 999.5 && name_idx + 1 < kNames.size()) {
    value /= 1000;
    ++name_idx;
  }
  const int decimals = value < 9.995 ? 2 : value < 99.95 ? 1 : 0;
  return fmt::format("{:.{}f} {}", value, decimals, kNames[name_idx]);
}

}  // namespace lorry::config
