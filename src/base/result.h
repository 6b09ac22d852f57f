// Result<T>: how everything that a file, a network, a client or a capacity can cause is reported.
// Our own bugs are CHECKs (base/check.h); nothing from outside may reach one.
#pragma once

#include <fmt/core.h>

#include <string>
#include <string_view>
#include <tl/expected.hpp>
#include <utility>

namespace lorry {

// Canonical codes; api/error_map.h maps them to HTTP once.
enum class ErrorCode {
  kInvalidArgument,    // the request or an option is wrong
  kNotFound,           // no such file, model, adapter
  kConflict,           // the name is taken
  kTooLarge,           // body, rank or size beyond a limit
  kUnfit,              // readable, but does not fit this base model
  kUnsupported,        // understood, but not something Lorry applies
  kPermission,         // refused
  kUnauthenticated,    // no or wrong key
  kResourceExhausted,  // a queue or a budget is full: try again later
  kUnavailable,        // shutting down or not ready
  kDeadline,           // took longer than allowed
  kCancelled,          // the client went away
  kDataLoss,           // the file is truncated or corrupt
  kSourceFailed,       // an adapter's source gave an error, or less than it promised
  kInternal,
};

std::string_view ErrorCodeName(ErrorCode code);

struct Error {
  ErrorCode code = ErrorCode::kInternal;
  std::string message;  // says what, which and the limit that was hit
  std::string param;    // the request field or option that caused it; empty if none
};

template <typename T>
using Result = tl::expected<T, Error>;
using Status = Result<void>;

inline tl::unexpected<Error> Fail(ErrorCode code, std::string message, std::string param = {}) {
  return tl::unexpected<Error>(Error{code, std::move(message), std::move(param)});
}

// Puts where it happened in front of an error's message: "model.safetensors: header is truncated".
inline tl::unexpected<Error> Annotate(Error error, std::string_view where) {
  error.message = fmt::format("{}: {}", where, error.message);
  return tl::unexpected<Error>(std::move(error));
}

}  // namespace lorry

#define LORRY_CONCAT_(a, b) a##b
#define LORRY_CONCAT(a, b) LORRY_CONCAT_(a, b)

// RETURN_IF_ERROR(expr): leaves the function with expr's error.
#define RETURN_IF_ERROR(expr)                                                        \
  do {                                                                               \
    auto status_ = (expr);                                                           \
    if (!status_) return tl::unexpected<::lorry::Error>(std::move(status_.error())); \
  } while (false)

// ASSIGN_OR_RETURN(auto x, expr): declares x from expr's value, or leaves with its error.
#define ASSIGN_OR_RETURN(declaration, expr) \
  ASSIGN_OR_RETURN_IMPL_(LORRY_CONCAT(result_, __LINE__), declaration, expr)
#define ASSIGN_OR_RETURN_IMPL_(result, declaration, expr)                        \
  auto result = (expr);                                                          \
  if (!result) return tl::unexpected<::lorry::Error>(std::move(result.error())); \
  declaration = std::move(*result)
