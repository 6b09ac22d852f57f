// Values of options as people write them: 512MB, 2GiB, 30s, 500ms, on, 8000.
// Owns: nothing. Thread: any. Pure.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "base/clock.h"
#include "base/result.h"

namespace lorry::config {

// Each error says what was written and what is understood; the caller adds where it was written.
Result<bool> ParseSwitch(std::string_view text);  // true false on off yes no 1 0
Result<int64_t> ParseInteger(std::string_view text);
Result<double> ParseNumber(std::string_view text);
Result<size_t> ParseBytes(std::string_view text);  // 4096, 512kB, 2GiB, 1.5GB
Result<Micros> ParseDuration(
    std::string_view text);  // 30s, 500ms, 2m, 1h; 0; a bare number is seconds

// The shortest exact form that the parsers above read back: "2GiB", "500ms".
std::string ShowBytes(size_t bytes);
std::string ShowDuration(Micros duration_us);

// For people: three digits, "269 MB".
std::string RoundBytes(size_t bytes);

}  // namespace lorry::config
