// The one table from our error codes to HTTP statuses and OpenAI's error types.
// Owns: nothing. Thread: any. Never: puts anything but an error's own words into a body.
#pragma once

#include <string>
#include <string_view>

#include "base/result.h"

namespace lorry::api {

struct HttpError {
  int status;
  std::string_view type;
  std::string_view code;  // "": null in the body
};

// An error whose param is "source" is about where an adapter comes from, or what was found there.
HttpError HttpErrorOf(const Error& error);

// {"error":{"message":…,"type":…,"param":…,"code":…}}
std::string ErrorBody(const Error& error);

}  // namespace lorry::api
