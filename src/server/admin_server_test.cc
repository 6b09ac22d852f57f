// Management over real sockets: which listener and which key open it, and what else they open.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "net/http_client.h"
#include "server/server.h"
#include "server/testing/echo_generator.h"
#include "server/testing/fake_adapter_service.h"
#include "server/testing/test_server.h"

namespace lorry::server {
namespace {

using testing::HasSubstr;

class ManagedServer {
 public:
  explicit ManagedServer(AdminOptions admin, std::vector<std::string> api_keys = {})
      : server_(Options(std::move(admin), std::move(api_keys)), service_, MakeText(), echo_,
                registry_) {
    start_ = server_.Start();
  }

  net::HttpResponse Call(const net::HttpCall& call, bool by_admin_port = false) {
    net::HttpClient client("127.0.0.1", by_admin_port ? server_.admin_port() : start_.value_or(0));
    Result<net::HttpResponse> response = client.Send(call);
    EXPECT_TRUE(response) << response.error().message;
    return response.value_or(net::HttpResponse{.status = 0});
  }
  int StatusOf(const std::string& path, net::HttpHeaders headers = {}, bool by_admin_port = false) {
    return Call({.target = path, .headers = std::move(headers)}, by_admin_port).status;
  }

  const Result<int>& start() const { return start_; }
  Server& server() { return server_; }
  FakeAdapterService& service() { return service_; }

 private:
  static ServerOptions Options(AdminOptions admin, std::vector<std::string> api_keys) {
    ServerOptions options;
    options.admin = std::move(admin);
    options.api_keys = std::move(api_keys);
    options.access_log = false;
    return options;
  }

  FakeAdapterService service_;
  EchoGenerator echo_;
  prometheus::Registry registry_;
  Server server_;
  Result<int> start_ = 0;
};

TEST(AdminServer, IsOffByItself) {
  ManagedServer server({});
  const net::HttpResponse off = server.Call({.target = "/v1/adapters"});
  EXPECT_EQ(off.status, 404);
  EXPECT_THAT(off.body, HasSubstr("--admin-key"));
  EXPECT_EQ(server.Call({.method = "POST", .target = "/v1/load_lora_adapter"}).status, 404);
  EXPECT_EQ(server.server().admin_port(), 0);
}

TEST(AdminServer, TheAdminKeyManagesAndNothingElse) {
  ManagedServer server({.key = "admin"}, {"client"});
  const net::HttpHeaders admin = {{"Authorization", "Bearer admin"}};
  const net::HttpHeaders client = {{"Authorization", "Bearer client"}};
  EXPECT_EQ(server.StatusOf("/v1/adapters", admin), 200);
  EXPECT_EQ(server.StatusOf("/v1/adapters", {{"X-Api-Key", "admin"}}), 200);
  EXPECT_EQ(server.StatusOf("/v1/adapters", client), 401);
  EXPECT_EQ(server.StatusOf("/v1/adapters"), 401);
  EXPECT_EQ(server.StatusOf("/v1/models", client), 200);
  EXPECT_EQ(server.StatusOf("/v1/models", admin), 401);
}

TEST(AdminServer, ItsOwnListenerDoesNotGenerate) {
  ManagedServer server({.port = 0});
  ASSERT_TRUE(server.start()) << server.start().error().message;
  ASSERT_GT(server.server().admin_port(), 0);
  EXPECT_EQ(server.StatusOf("/v1/adapters", {}, /*by_admin_port=*/true), 200);
  EXPECT_EQ(server.StatusOf("/v1/adapters"), 404);
  EXPECT_EQ(server.StatusOf("/health", {}, /*by_admin_port=*/true), 200);
  EXPECT_EQ(server.StatusOf("/metrics", {}, /*by_admin_port=*/true), 200);
  EXPECT_EQ(server.StatusOf("/v1/models", {}, /*by_admin_port=*/true), 404);
  EXPECT_EQ(server.StatusOf("/v1/adapters", {{"Origin", "http://x"}}, /*by_admin_port=*/true), 403);
}

TEST(AdminServer, AnOpenListenerForOthersNeedsAKey) {
  ManagedServer open({.host = "0.0.0.0", .port = 0});
  ASSERT_FALSE(open.start());
  EXPECT_EQ(open.start().error().code, ErrorCode::kInvalidArgument);
  EXPECT_THAT(open.start().error().message, HasSubstr("--admin-key"));
  ManagedServer locked({.key = "admin", .host = "0.0.0.0", .port = 0});
  ASSERT_TRUE(locked.start()) << locked.start().error().message;
  EXPECT_EQ(locked.StatusOf("/v1/adapters", {}, /*by_admin_port=*/true), 401);
}

TEST(AdminServer, AdaptersComeAndGoAndAreJournalled) {
  ManagedServer server({.key = "admin"});
  const net::HttpHeaders admin = {{"Authorization", "Bearer admin"}};
  const auto call = [&](std::string method, std::string target, std::string body) {
    return server.Call({std::move(method), std::move(target), admin, std::move(body)}).status;
  };
  EXPECT_EQ(call("POST", "/v1/adapters", R"({"name":"team/x","source":"/x"})"), 201);
  EXPECT_EQ(call("PATCH", "/v1/adapters/team%2Fx", R"({"pin":true})"), 200);
  EXPECT_EQ(call("DELETE", "/v1/adapters/team/x", ""), 200);
  EXPECT_EQ(call("DELETE", "/v1/adapters/team/x", ""), 404);
  EXPECT_EQ(call("POST", "/v1/adapters", std::string(100'000, ' ')), 413);
  const std::string metrics = server.Call({.target = "/metrics"}).body;
  EXPECT_THAT(metrics, HasSubstr(R"(handler="/v1/adapters/",method="DELETE",status="404"} 1)"));
}

TEST(AdminServer, EndsWhileASourceHangs) {
  ManagedServer server({.key = "admin"});
  server.service().Hold();
  std::thread client([&, port = server.start().value_or(0)] {
    net::HttpClient http("127.0.0.1", port);
    const auto answer = http.Send({.method = "POST",
                                   .target = "/v1/adapters",
                                   .headers = {{"X-Api-Key", "admin"}},
                                   .body = R"({"name":"a","source":"/a"})"});
    EXPECT_FALSE(answer && answer->status == 201);
  });
  EXPECT_TRUE(Eventually([&] { return server.service().num_held() == 1; }));
  server.server().Stop();
  server.service().AnswerHeld();
  client.join();
}

}  // namespace
}  // namespace lorry::server
