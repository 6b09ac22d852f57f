#include "server/admission.h"

#include <algorithm>
#include <array>

#include "base/ascii.h"
#include "server/other_apis.h"

namespace lorry::server {
namespace {

constexpr size_t kMaxAdminBodyBytes = 1 << 20;
constexpr size_t kMaxUnusedBodyBytes = 64 << 10;  // that are read over where none is asked for
constexpr size_t kMaxShownBytes = 200;            // of what a client sent, in a message to it

Refusal NoRoute(const RouteMatch& match, const net::HttpRequest& head) {
  Refusal refusal;
  refusal.status = match.status;
  if (!match.allow.empty()) refusal.headers.Add("Allow", match.allow);
  const std::string shown = head.path.substr(0, kMaxShownBytes);
  if (match.status == 404) {
    const std::string_view instead = InsteadOf(head.path);
    const std::string nearest = instead.empty() ? NearestPath(head.path) : "";
    std::string message = fmt::format("There is nothing at {}", shown);
    message += nearest.empty() ? "." : fmt::format("; did you mean {}?", nearest);
    if (!instead.empty()) message += fmt::format(" {}", instead);
    refusal.error = {ErrorCode::kNotFound, std::move(message), ""};
  } else {
    refusal.error = {ErrorCode::kInvalidArgument,
                     fmt::format("{} does not take {}; it takes {}.", shown,
                                 head.method.substr(0, kMaxShownBytes), match.allow),
                     ""};
  }
  return refusal;
}

Status CheckEncoding(const net::HttpHeaders& headers) {
  for (const auto& [name, value] : headers) {
    if (!EqualIgnoringCase(name, "content-encoding")) continue;
    if (value.empty() || EqualIgnoringCase(value, "identity")) continue;
    return Fail(ErrorCode::kUnsupported,
                fmt::format("The body has Content-Encoding {}, and only identity is understood: "
                            "send it uncompressed, without that header.",
                            value.substr(0, kMaxShownBytes)),
                "content-encoding");
  }
  return {};
}

// JSON, or what clients write without thinking of it (curl -d says that it is a form).
Status CheckType(const net::HttpHeaders& headers) {
  constexpr std::array<std::string_view, 4> kTaken = {
      "", "text/plain", "application/x-www-form-urlencoded", "application/octet-stream"};
  const std::string_view value = headers.Find("content-type").value_or("");
  std::string type = AsciiLower(value.substr(0, value.find(';')));
  while (type.ends_with(' ') || type.ends_with('\t')) type.pop_back();
  const bool is_json = type.ends_with("/json") || type.ends_with("+json");
  if (is_json || std::ranges::find(kTaken, type) != kTaken.end()) return {};
  return Fail(ErrorCode::kUnsupported,
              fmt::format("The body has Content-Type {}, and only application/json is understood.",
                          value.substr(0, kMaxShownBytes)),
              "content-type");
}

}  // namespace

Status Admission::CheckOptions(const ServerOptions& options) {
  const AdminOptions& admin = options.admin;
  if (admin.port >= 0 && admin.key.empty() && !IsLoopback(admin.host)) {
    return Fail(
        ErrorCode::kInvalidArgument,
        fmt::format("--admin-host {}: others can reach it, so --admin-key is needed", admin.host),
        "admin-host");
  }
  const bool has_key = !admin.key.empty() || !options.api_keys.empty();
  if (options.metrics == MetricsAccess::kKey && !has_key) {
    return Fail(ErrorCode::kInvalidArgument,
                "--metrics key: there is no key that opens it; give an --api-key or --admin-key",
                "metrics");
  }
  if (options.metrics == MetricsAccess::kAdmin && admin.key.empty() && admin.port < 0) {
    return Fail(ErrorCode::kInvalidArgument,
                "--metrics admin: nobody could read them; give an --admin-key or --admin-port",
                "metrics");
  }
  return {};
}

tl::expected<net::HttpVerdict, Refusal> Admission::Judge(const RouteMatch& match,
                                                         const net::HttpRequest& head,
                                                         bool has_body, Listener listener) const {
  const auto refuse = [](Error error) {
    return tl::unexpected(Refusal{.error = std::move(error), .headers = {}});
  };
  if (listener == Listener::kAdmin) {
    if (const Status status = admins_.CheckHost(head.headers); !status) {
      return refuse(status.error());
    }
  }
  if (match.route == nullptr) return tl::unexpected(NoRoute(match, head));
  const Route& route = *match.route;
  if (const Status status = CheckAccess(route, head.headers, listener); !status) {
    return refuse(status.error());
  }
  net::HttpVerdict verdict;
  const bool is_open_metrics =
      route.access == Access::kMetrics &&
      (options_.metrics == MetricsAccess::kOpen || options_.metrics == MetricsAccess::kNameless);
  verdict.admits = route.access != Access::kOpen && !is_open_metrics;
  verdict.keeps_body = route.method == "POST" || route.method == "PATCH";
  if (route.access == Access::kAdmin) verdict.max_body_bytes = kMaxAdminBodyBytes;
  if (!verdict.keeps_body) verdict.max_body_bytes = kMaxUnusedBodyBytes;
  if (!has_body || !verdict.keeps_body) return verdict;
  if (const Status status = CheckEncoding(head.headers); !status) {
    Refusal refusal{.error = status.error(), .headers = {{"Accept-Encoding", "identity"}}};
    return tl::unexpected(std::move(refusal));
  }
  if (const Status status = CheckType(head.headers); !status) return refuse(status.error());
  return verdict;
}

bool Admission::ShowsNames(const net::HttpHeaders& headers, Listener listener) const {
  return options_.metrics != MetricsAccess::kNameless ||
         admins_.Check(Endpoint::kMetrics, headers, listener).has_value();
}

Status Admission::CheckAccess(const Route& route, const net::HttpHeaders& headers,
                              Listener listener) const {
  switch (route.access) {
    case Access::kOpen:
      return {};
    case Access::kClient:
      if (listener == Listener::kClients) return clients_.Check(headers);
      return Fail(ErrorCode::kNotFound, "This listener is for managing adapters.");
    case Access::kAdmin:
      return admins_.Check(route.endpoint, headers, listener);
    case Access::kMetrics:
      return CheckMetrics(headers, listener);
  }
  return Fail(ErrorCode::kInternal, "A route without a door.");
}

Status Admission::CheckMetrics(const net::HttpHeaders& headers, Listener listener) const {
  if (options_.metrics == MetricsAccess::kOpen || options_.metrics == MetricsAccess::kNameless) {
    return {};
  }
  if (admins_.Check(Endpoint::kMetrics, headers, listener)) return {};
  if (options_.metrics == MetricsAccess::kKey && clients_.has_keys())
    return clients_.Check(headers);
  if (!options_.admin.key.empty()) {
    return Fail(ErrorCode::kUnauthenticated,
                "Metrics are shown to who has the admin key. " + WhyNoAdminKey(headers));
  }
  return Fail(ErrorCode::kNotFound,
              "Metrics are on the listener for managing (--admin-port): the server's operator "
              "chose so with --metrics admin.");
}

}  // namespace lorry::server
