#include "server/admission.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace lorry::server {
namespace {

using testing::HasSubstr;

struct Asked {
  std::string method = "POST";
  std::string path = "/v1/completions";
  net::HttpHeaders headers;
  bool has_body = true;
  Listener listener = Listener::kClients;
};

// 200: let in.
struct Judged {
  int status = 200;
  Error error;
  net::HttpVerdict verdict;
};

Judged Ask(const ServerOptions& options, const Asked& asked) {
  const Auth clients(options.api_keys);
  const AdminAccess admins(options.admin, clients);
  const Admission admission(options, clients, admins);
  net::HttpRequest head;
  head.method = asked.method;
  head.path = asked.path;
  head.headers = asked.headers;
  auto verdict =
      admission.Judge(FindRoute(head.method, head.path), head, asked.has_body, asked.listener);
  if (verdict) return {.verdict = std::move(*verdict)};
  const Refusal& refusal = verdict.error();
  // What the error map says is tested elsewhere: here codes stand for themselves.
  return {refusal.status == 0 ? 1000 + static_cast<int>(refusal.error.code) : refusal.status,
          refusal.error};
}

int Of(ErrorCode code) { return 1000 + static_cast<int>(code); }

const net::HttpHeaders kClientKey = {{"Authorization", "Bearer client"}};
const net::HttpHeaders kAdminKey = {{"Authorization", "Bearer admin"}};

TEST(Admission, TheHeaderIsEnoughToRefuse) {
  ServerOptions options;
  options.api_keys = {"client"};
  EXPECT_EQ(Ask(options, {.headers = kClientKey}).status, 200);
  EXPECT_EQ(Ask(options, {}).status, Of(ErrorCode::kUnauthenticated));
  EXPECT_EQ(Ask(options, {.path = "/v1/nothing"}).status, 404);
  EXPECT_EQ(Ask(options, {.method = "GET"}).status, 405);
  EXPECT_EQ(Ask(options, {.path = "/v1/adapters"}).status, Of(ErrorCode::kNotFound));
  EXPECT_EQ(Ask(options, {.method = "OPTIONS"}).status, 204);
  EXPECT_THAT(Ask(options, {.path = "/chat/completions"}).error.message,
              HasSubstr("did you mean /v1/chat/completions?"));
}

TEST(Admission, WhoHasShownNothingIsANewcomer) {
  ServerOptions options;
  options.api_keys = {"client"};
  EXPECT_TRUE(Ask(options, {.headers = kClientKey}).verdict.admits);
  for (const char* path : {"/", "/health", "/ready", "/version", "/metrics"}) {
    const Judged judged = Ask(options, {.method = "GET", .path = path, .has_body = true});
    EXPECT_EQ(judged.status, 200) << path;
    EXPECT_FALSE(judged.verdict.admits) << path;
    EXPECT_FALSE(judged.verdict.keeps_body) << path;
  }
  EXPECT_TRUE(Ask({}, {}).verdict.admits) << "without keys, who uses the API";
  options.metrics = MetricsAccess::kKey;
  EXPECT_TRUE(
      Ask(options, {.method = "GET", .path = "/metrics", .headers = kClientKey}).verdict.admits);
}

TEST(Admission, BodiesAreJsonAsItIs) {
  const auto status = [](const char* name, const char* value) {
    return Ask({}, {.headers = {{"X", "y"}, {name, value}}}).error.param;
  };
  for (const char* good : {"identity", "", "Identity"}) {
    EXPECT_EQ(status("Content-Encoding", good), "") << good;
  }
  for (const char* bad :
       {"gzip", "deflate", "br", "zstd", "x-gzip", "identity, gzip", "gzip, br"}) {
    EXPECT_EQ(status("content-encoding", bad), "content-encoding") << bad;
  }
  for (const char* good :
       {"application/json", "application/json; charset=utf-8", "text/plain", "Application/JSON",
        "application/vnd.api+json", "text/json ;x=y", "application/x-www-form-urlencoded", ""}) {
    EXPECT_EQ(status("Content-Type", good), "") << good;
  }
  for (const char* bad : {"multipart/form-data; boundary=x", "application/msgpack", "image/png",
                          "application/xml", "json"}) {
    EXPECT_EQ(status("Content-Type", bad), "content-type") << bad;
  }
  const Judged twice =
      Ask({}, {.headers = {{"Content-Encoding", "identity"}, {"Content-Encoding", "gzip"}}});
  EXPECT_EQ(twice.error.param, "content-encoding");
  EXPECT_THAT(twice.error.message, HasSubstr("send it uncompressed"));
  EXPECT_EQ(Ask({}, {.headers = {{"Content-Encoding", "gzip"}}, .has_body = false}).status, 200);
}

TEST(Admission, TheKeylessAdminListenerIsForThisMachinesNames) {
  ServerOptions options;
  options.admin.port = 0;
  const auto ask = [&](const char* host, const char* path = "/v1/adapters") {
    return Ask(options, {.method = "GET",
                         .path = path,
                         .headers = {{"Host", host}},
                         .has_body = false,
                         .listener = Listener::kAdmin})
        .status;
  };
  for (const char* host : {"localhost", "localhost:8001", "LocalHost:1", "127.0.0.1:8001",
                           "127.1.2.3", "[::1]:8001", "[::1]"}) {
    EXPECT_EQ(ask(host), 200) << host;
  }
  for (const char* host :
       {"evil.example", "evil.example:8001", "localhost.evil.example", "127.0.0.1.evil.example",
        "127.evil.example", "10.0.0.1:8001", "[::2]:8001", "", "[", "[::1].evil.example"}) {
    const bool is_loopback_after_all = std::string_view(host) == "[::1].evil.example";
    EXPECT_EQ(ask(host), is_loopback_after_all ? 200 : Of(ErrorCode::kPermission)) << host;
    if (!is_loopback_after_all) {
      EXPECT_EQ(ask(host, "/metrics"), Of(ErrorCode::kPermission)) << host;
    }
  }
  options.admin.key = "admin";  // says who asks, whatever they call us
  EXPECT_EQ(Ask(options, {.method = "GET",
                          .path = "/v1/adapters",
                          .headers = {{"Host", "evil.example"}, {"X-Api-Key", "admin"}},
                          .has_body = false,
                          .listener = Listener::kAdmin})
                .status,
            200);
}

TEST(Admission, MetricsAsTheOperatorSays) {
  const auto ask = [](MetricsAccess access, const net::HttpHeaders& headers,
                      Listener listener = Listener::kClients, std::string admin_key = "admin",
                      std::vector<std::string> api_keys = {"client"}) {
    ServerOptions options;
    options.api_keys = std::move(api_keys);
    options.admin.key = std::move(admin_key);
    options.admin.port = 0;
    options.metrics = access;
    return Ask(options, {.method = "GET",
                         .path = "/metrics",
                         .headers = headers,
                         .has_body = false,
                         .listener = listener})
        .status;
  };
  const int no_key = Of(ErrorCode::kUnauthenticated);
  for (const MetricsAccess open : {MetricsAccess::kOpen, MetricsAccess::kNameless}) {
    EXPECT_EQ(ask(open, {}), 200);
    EXPECT_EQ(ask(open, {}, Listener::kAdmin), 200);
  }
  EXPECT_EQ(ask(MetricsAccess::kKey, {}), no_key);
  EXPECT_EQ(ask(MetricsAccess::kKey, kClientKey), 200);
  EXPECT_EQ(ask(MetricsAccess::kKey, kAdminKey), 200);
  EXPECT_EQ(ask(MetricsAccess::kKey, kClientKey, Listener::kClients, "admin", {}), no_key);
  EXPECT_EQ(ask(MetricsAccess::kKey, {}, Listener::kAdmin, ""), 200) << "that is this machine";
  EXPECT_EQ(ask(MetricsAccess::kAdmin, kClientKey), no_key);
  EXPECT_EQ(ask(MetricsAccess::kAdmin, kAdminKey), 200);
  EXPECT_EQ(ask(MetricsAccess::kAdmin, {}, Listener::kAdmin), no_key);
  EXPECT_EQ(ask(MetricsAccess::kAdmin, {}, Listener::kAdmin, ""), 200);
  EXPECT_EQ(ask(MetricsAccess::kAdmin, {}, Listener::kClients, ""), Of(ErrorCode::kNotFound));
  EXPECT_EQ(ask(MetricsAccess::kAdmin, {{"Origin", "http://x"}}, Listener::kAdmin, ""),
            Of(ErrorCode::kNotFound));
}

TEST(Admission, NamesAreForWhoMayManage) {
  ServerOptions options;
  options.metrics = MetricsAccess::kNameless;
  options.admin.key = "admin";
  const Auth clients(options.api_keys);
  const AdminAccess admins(options.admin, clients);
  const Admission admission(options, clients, admins);
  EXPECT_FALSE(admission.ShowsNames({}, Listener::kClients));
  EXPECT_FALSE(admission.ShowsNames(kClientKey, Listener::kClients));
  EXPECT_TRUE(admission.ShowsNames(kAdminKey, Listener::kClients));
}

TEST(Admission, AnAccessThatNobodyHasIsAnError) {
  const auto check = [](const ServerOptions& options) {
    return Admission::CheckOptions(options).has_value();
  };
  ServerOptions options;
  EXPECT_TRUE(check(options));
  options.metrics = MetricsAccess::kKey;
  EXPECT_FALSE(check(options));
  options.metrics = MetricsAccess::kAdmin;
  EXPECT_FALSE(check(options));
  options.admin.port = 0;
  EXPECT_TRUE(check(options));
  options.metrics = MetricsAccess::kKey;
  EXPECT_FALSE(check(options));
  options.api_keys = {"k"};
  EXPECT_TRUE(check(options));
  options.admin.host = "0.0.0.0";
  EXPECT_FALSE(check(options));
  options.admin.key = "admin";
  EXPECT_TRUE(check(options));
}

}  // namespace
}  // namespace lorry::server
