// CHECK: our own bugs stop the process with the values that were wrong. Always on.
#pragma once

#include <fmt/core.h>

#include <string>

namespace lorry {

[[noreturn]] void CheckFailed(const char* file, int line, const char* condition,
                              const std::string& detail);

}  // namespace lorry

#define CHECK(condition)                                        \
  do {                                                          \
    if (!(condition)) [[unlikely]]                              \
      ::lorry::CheckFailed(__FILE__, __LINE__, #condition, ""); \
  } while (false)

#define CHECK_MSG(condition, ...)                                                     \
  do {                                                                                \
    if (!(condition)) [[unlikely]]                                                    \
      ::lorry::CheckFailed(__FILE__, __LINE__, #condition, fmt::format(__VA_ARGS__)); \
  } while (false)

#define LORRY_CHECK_OP_(a, op, b)                                        \
  do {                                                                   \
    const auto& check_a_ = (a);                                          \
    const auto& check_b_ = (b);                                          \
    if (!(check_a_ op check_b_)) [[unlikely]]                            \
      ::lorry::CheckFailed(__FILE__, __LINE__, #a " " #op " " #b,        \
                           fmt::format("{} vs {}", check_a_, check_b_)); \
  } while (false)

#define CHECK_EQ(a, b) LORRY_CHECK_OP_(a, ==, b)
#define CHECK_LE(a, b) LORRY_CHECK_OP_(a, <=, b)
#define CHECK_LT(a, b) LORRY_CHECK_OP_(a, <, b)
#define CHECK_GE(a, b) LORRY_CHECK_OP_(a, >=, b)
