#include "api/error_map.h"

#include "api/openai/json_text.h"

namespace lorry::api {
namespace {

struct Row {
  ErrorCode code;
  std::string_view param;  // "": any
  HttpError http;
};

// The first row that fits counts, so rows with a param stand before the one without.
constexpr Row kRows[] = {
    {ErrorCode::kInvalidArgument, "", {400, "invalid_request_error", ""}},
    {ErrorCode::kNotFound, "model", {404, "invalid_request_error", "model_not_found"}},
    {ErrorCode::kNotFound, "source", {404, "invalid_request_error", "source_not_found"}},
    {ErrorCode::kNotFound, "", {404, "invalid_request_error", "not_found"}},
    {ErrorCode::kConflict, "", {409, "invalid_request_error", "conflict"}},
    {ErrorCode::kTooLarge, "prompt", {400, "invalid_request_error", "context_length_exceeded"}},
    {ErrorCode::kTooLarge, "messages", {400, "invalid_request_error", "context_length_exceeded"}},
    {ErrorCode::kTooLarge, "source", {413, "invalid_request_error", "adapter_too_large"}},
    {ErrorCode::kTooLarge, "", {413, "invalid_request_error", "request_too_large"}},
    {ErrorCode::kUnfit, "", {422, "invalid_request_error", "adapter_unfit"}},
    {ErrorCode::kUnsupported, "source", {422, "invalid_request_error", "adapter_unsupported"}},
    {ErrorCode::kUnsupported,
     "content-encoding",
     {415, "invalid_request_error", "unsupported_media_type"}},
    {ErrorCode::kUnsupported,
     "content-type",
     {415, "invalid_request_error", "unsupported_media_type"}},
    {ErrorCode::kUnsupported, "", {400, "invalid_request_error", "unsupported_parameter"}},
    {ErrorCode::kPermission, "source", {403, "permission_error", "source_refused"}},
    {ErrorCode::kPermission, "", {403, "permission_error", ""}},
    {ErrorCode::kUnauthenticated, "source", {401, "permission_error", "source_refused"}},
    {ErrorCode::kUnauthenticated, "", {401, "invalid_request_error", "invalid_api_key"}},
    {ErrorCode::kResourceExhausted, "source", {503, "server_error", "no_room"}},
    {ErrorCode::kResourceExhausted, "", {429, "rate_limit_error", "rate_limit_exceeded"}},
    {ErrorCode::kUnavailable, "", {503, "server_error", "unavailable"}},
    {ErrorCode::kDeadline, "", {504, "server_error", "timeout"}},
    {ErrorCode::kCancelled, "", {499, "server_error", "cancelled"}},
    {ErrorCode::kDataLoss, "source", {424, "server_error", "source_failed"}},
    {ErrorCode::kSourceFailed, "", {424, "server_error", "source_failed"}},
    {ErrorCode::kDataLoss, "", {500, "server_error", ""}},
    {ErrorCode::kInternal, "", {500, "server_error", ""}},
};

}  // namespace

HttpError HttpErrorOf(const Error& error) {
  for (const Row& row : kRows) {
    if (row.code == error.code && (row.param.empty() || row.param == error.param)) return row.http;
  }
  return {500, "server_error", ""};
}

std::string ErrorBody(const Error& error) {
  const HttpError http = HttpErrorOf(error);
  std::string body = R"({"error":{"message":)";
  openai::AppendJsonString(body, error.message);
  body += R"(,"type":)";
  openai::AppendJsonString(body, http.type);
  body += R"(,"param":)";
  openai::AppendJsonStringOrNull(body, error.param);
  body += R"(,"code":)";
  openai::AppendJsonStringOrNull(body, http.code);
  body += "}}";
  return body;
}

}  // namespace lorry::api
