#include "apps/admin_client.h"

#include <fmt/format.h>

#include <boost/json.hpp>

#include "base/ascii.h"
#include "formats/json.h"

namespace lorry::apps {
namespace {

namespace json = boost::json;

std::string PercentEncoded(std::string_view text) {
  std::string encoded;
  for (const char c : text) {
    const bool is_plain =
        IsAsciiAlphanumeric(c) || std::string_view("-._~/").find(c) != std::string_view::npos;
    encoded += is_plain ? std::string(1, c) : fmt::format("%{:02X}", static_cast<uint8_t>(c));
  }
  return encoded;
}

// What an error's body says, in OpenAI's form or any other.
std::string MessageIn(const std::string& body) {
  const auto object = formats::ParseJsonObject(body, "answer");
  const json::value* error = object ? object->if_contains("error") : nullptr;
  const json::value* message =
      error != nullptr && error->is_object() ? error->get_object().if_contains("message") : nullptr;
  const bool is_text = message != nullptr && message->is_string();
  return is_text ? std::string(message->get_string()) : body.substr(0, 200);
}

ErrorCode CodeOf(int status) {
  switch (status) {
    case 401:
      return ErrorCode::kUnauthenticated;
    case 403:
      return ErrorCode::kPermission;
    case 404:
      return ErrorCode::kNotFound;
    default:
      return ErrorCode::kUnavailable;
  }
}

}  // namespace

Result<AdminClient> AdminClient::Create(const std::string& url, std::string key,
                                        std::chrono::milliseconds limit) {
  auto parsed = net::ParseHttpUrl(url);
  if (!parsed) return Annotate(std::move(parsed.error()), "URL");
  return AdminClient(*parsed, url, std::move(key), limit);
}

AdminClient::AdminClient(const net::HttpUrl& url, std::string text, std::string key,
                         std::chrono::milliseconds limit)
    : http_(url.host, url.port),
      prefix_(url.path),
      url_(std::move(text)),
      key_(std::move(key)),
      limit_(limit) {}

Result<std::string> AdminClient::Call(std::string method, const std::string& path,
                                      std::string body) {
  net::HttpCall call;
  call.method = std::move(method);
  call.target = prefix_ + path;
  call.body = std::move(body);
  call.timeout = limit_;
  if (!key_.empty()) call.headers.Add("Authorization", "Bearer " + key_);
  if (!call.body.empty()) call.headers.Add("Content-Type", "application/json");
  auto response = http_.Send(call);
  if (!response) return Annotate(std::move(response.error()), url_);
  if (response->status / 100 == 2) return std::move(response->body);
  std::string message =
      fmt::format("{}: {} ({})", url_, MessageIn(response->body), response->status);
  if (response->status == 401) {
    message += path == "/metrics" ? "; the key is --admin-key or --api-key"
                                  : "; the key is --admin-key or LORRY_ADMIN_KEY";
  }
  return Fail(CodeOf(response->status), std::move(message));
}

Result<json::object> AdminClient::CallJson(std::string method, const std::string& path,
                                           std::string body) {
  ASSIGN_OR_RETURN(const std::string text, Call(std::move(method), path, std::move(body)));
  return formats::ParseJsonObject(text, url_ + path);
}

Result<json::array> AdminClient::List() {
  json::array all;
  std::string after;
  for (;;) {
    ASSIGN_OR_RETURN(const json::object page,
                     CallJson("GET", "/v1/adapters?limit=1000&after=" + PercentEncoded(after), ""));
    const formats::JsonFields fields(page, url_);
    const json::value* data = fields.Find("data");
    if (data == nullptr || !data->is_array()) {
      return Fail(ErrorCode::kDataLoss, fmt::format("{}: not a list of adapters", url_));
    }
    for (const json::value& adapter : data->get_array()) {
      if (adapter.is_object()) all.push_back(adapter);
    }
    ASSIGN_OR_RETURN(const std::string next, fields.Or<std::string>("next", ""));
    if (next <= after) return all;  // none, or a server that would send us in circles
    after = next;
  }
}

Result<json::object> AdminClient::SetPinned(const std::string& name, bool is_pinned) {
  return CallJson("PATCH", "/v1/adapters/" + PercentEncoded(name),
                  json::serialize(json::object{{"pin", is_pinned}}));
}

Status AdminClient::Remove(const std::string& name) {
  RETURN_IF_ERROR(Call("DELETE", "/v1/adapters/" + PercentEncoded(name), ""));
  return {};
}

Result<std::string> AdminClient::Get(const std::string& path) { return Call("GET", path, ""); }

}  // namespace lorry::apps
