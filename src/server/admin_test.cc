// The management routes over a fake adapter service: dialect by dialect, what a client gets.
#include "server/admin.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <prometheus/registry.h>

#include <boost/json.hpp>
#include <future>

#include "base/log.h"
#include "server/testing/fake_adapter_service.h"

namespace lorry::server {
namespace {

namespace json = boost::json;
using testing::HasSubstr;

// Keeps the answer for the test.
class RecordingWriter final : public net::ResponseWriter {
 public:
  explicit RecordingWriter(std::promise<net::HttpResponse> answer) : answer_(std::move(answer)) {}
  void Send(net::HttpResponse response) override { answer_.set_value(std::move(response)); }
  void StartStream(int, net::HttpHeaders) override {}
  bool Write(std::string_view) override { return false; }
  void Finish() override {}
  void OnClosed(std::function<void()>) override {}
  bool closed() const override { return false; }

 private:
  std::promise<net::HttpResponse> answer_;
};

class AdminApiTest : public testing::Test {
 protected:
  explicit AdminApiTest(bool access_log = false) : journal_(registry_, access_log) {
    api_.emplace(service_).Start();
  }

  std::future<net::HttpResponse> Begin(const std::string& method, const std::string& target,
                                       std::string body, net::HttpHeaders headers = {}) {
    const size_t question = std::min(target.find('?'), target.size());
    net::HttpRequest request;
    request.method = method;
    request.path = target.substr(0, question);
    request.query = target.substr(std::min(question + 1, target.size()));
    request.headers = std::move(headers);
    request.body = std::move(body);
    std::promise<net::HttpResponse> promise;
    std::future<net::HttpResponse> answer = promise.get_future();
    const Route* route = FindRoute(method, request.path).route;
    EXPECT_NE(route, nullptr) << method << " " << target;
    auto exchange = std::make_unique<Exchange>(
        request, std::make_shared<RecordingWriter>(std::move(promise)), journal_, Clock::Steady());
    api_->Handle(*route, std::move(request), std::move(exchange));
    return answer;
  }

  net::HttpResponse Call(const std::string& method, const std::string& target,
                         std::string body = "", net::HttpHeaders headers = {}) {
    return Begin(method, target, std::move(body), std::move(headers)).get();
  }

  json::value CallJson(const std::string& method, const std::string& target,
                       std::string body = "") {
    return json::parse(Call(method, target, std::move(body)).body);
  }

  int StatusOf(const std::string& method, const std::string& target, std::string body = "") {
    return Call(method, target, std::move(body)).status;
  }

  FakeAdapterService service_;
  prometheus::Registry registry_;
  Journal journal_;
  std::optional<AdminApi> api_;
};

TEST_F(AdminApiTest, NativeLifeOfAnAdapter) {
  const net::HttpResponse created =
      Call("POST", "/v1/adapters", R"({"name":"team/fr","source":"hf://org/fr","pin":true})");
  EXPECT_EQ(created.status, 201);
  EXPECT_THAT(created.body, HasSubstr(R"("name":"team/fr")"));
  EXPECT_EQ(StatusOf("POST", "/v1/adapters", R"({"name":"team/fr","source":"/x"})"), 409);
  EXPECT_EQ(StatusOf("POST", "/v1/adapters",
                     R"({"name":"team/fr","source":"/x","replace":true,"token":"t"})"),
            201);
  EXPECT_EQ(service_.last_registration().token, "t");

  const json::value shown = CallJson("GET", "/v1/adapters/team/fr");
  EXPECT_EQ(shown.at("source").as_string(), "/x");
  EXPECT_EQ(shown.at("tier").as_string(), "host");
  const json::value pinned = CallJson("PATCH", "/v1/adapters/team/fr", R"({"pin":true})");
  EXPECT_TRUE(pinned.at("pinned").as_bool());

  EXPECT_EQ(Call("DELETE", "/v1/adapters/team/fr").body,
            R"({"name":"team/fr","object":"adapter","deleted":true})");
  for (const char* method : {"GET", "DELETE"}) {
    EXPECT_EQ(StatusOf(method, "/v1/adapters/team/fr"), 404) << method;
  }
  EXPECT_EQ(StatusOf("PATCH", "/v1/adapters/team/fr", R"({"reload":true})"), 404);
}

TEST_F(AdminApiTest, NativeReloadAndAliasMoveTheName) {
  const auto id_of = [&](const json::value& adapter) { return adapter.at("id").as_string(); };
  const auto first = id_of(CallJson("POST", "/v1/adapters", R"({"name":"a","source":"/a"})"));
  const auto other = id_of(CallJson("POST", "/v1/adapters", R"({"name":"b","source":"/b"})"));
  const auto reloaded = id_of(CallJson("PATCH", "/v1/adapters/a", R"({"reload":true})"));
  EXPECT_NE(reloaded, first);
  EXPECT_EQ(id_of(CallJson("PATCH", "/v1/adapters/a", R"({"alias_of":"b"})")), other);
  EXPECT_EQ(StatusOf("PATCH", "/v1/adapters/a", R"({"alias_of":"nobody"})"), 404);
}

TEST_F(AdminApiTest, NativeListHasPages) {
  for (int i = 0; i < 25; ++i) {
    const std::string body = fmt::format(R"({{"name":"t/{:02}","source":"/x","load":false}})", i);
    ASSERT_EQ(StatusOf("POST", "/v1/adapters", body), 201);
  }
  ASSERT_EQ(StatusOf("POST", "/v1/adapters", R"({"name":"other","source":"/x"})"), 201);
  const json::value page = CallJson("GET", "/v1/adapters?name=t%2F&limit=10&after=t/19");
  EXPECT_EQ(page.at("total").as_int64(), 25);
  EXPECT_EQ(page.at("data").as_array().size(), 5u);
  EXPECT_TRUE(page.at("next").is_null());
  EXPECT_EQ(CallJson("GET", "/v1/adapters?limit=10").at("next").as_string(), "t/08");
  EXPECT_EQ(StatusOf("GET", "/v1/adapters?limit=x"), 400);
}

TEST_F(AdminApiTest, ErrorsOfSourcesHaveTheirStatuses) {
  const std::pair<ErrorCode, int> cases[] = {
      {ErrorCode::kUnauthenticated, 401}, {ErrorCode::kPermission, 403},
      {ErrorCode::kNotFound, 404},        {ErrorCode::kTooLarge, 413},
      {ErrorCode::kUnfit, 422},           {ErrorCode::kUnsupported, 422},
      {ErrorCode::kSourceFailed, 424},    {ErrorCode::kDataLoss, 424},
      {ErrorCode::kUnavailable, 503},     {ErrorCode::kDeadline, 504},
  };
  for (const auto& [code, status] : cases) {
    service_.FailSource("/bad", {code, "q_proj: 3 is not 4", ""});
    const net::HttpResponse answer =
        Call("POST", "/v1/adapters", R"({"name":"bad","source":"/bad"})");
    EXPECT_EQ(answer.status, status) << ErrorCodeName(code);
    EXPECT_THAT(answer.body, HasSubstr("q_proj: 3 is not 4"));
    EXPECT_EQ(answer.headers.Find("retry-after").has_value(), status == 503);
    EXPECT_FALSE(answer.headers.Find("www-authenticate")) << "the client's key is right";
  }
  EXPECT_EQ(StatusOf("GET", "/v1/adapters/bad"), 404);
}

TEST_F(AdminApiTest, StaticAdaptersStay) {
  service_.AddStatic("sql");
  EXPECT_EQ(StatusOf("DELETE", "/v1/adapters/sql"), 403);
  EXPECT_EQ(StatusOf("POST", "/v1/unload_lora_adapter", R"({"lora_name":"sql"})"), 403);
  EXPECT_EQ(StatusOf("DELETE", "/adapters/sql"), 403);
  EXPECT_EQ(StatusOf("GET", "/v1/adapters/sql"), 200);
}

TEST_F(AdminApiTest, VllmsTextsAndCodes) {
  const std::string body = R"({"lora_name":"sql","lora_path":"/sql"})";
  const net::HttpResponse loaded = Call("POST", "/v1/load_lora_adapter", body);
  EXPECT_EQ(loaded.status, 200);
  EXPECT_EQ(loaded.body, "Success: LoRA adapter 'sql' added successfully.");
  EXPECT_THAT(std::string(*loaded.headers.Find("content-type")), HasSubstr("text/plain"));
  const net::HttpResponse again = Call("POST", "/v1/load_lora_adapter", body);
  EXPECT_EQ(again.status, 400);
  EXPECT_THAT(again.body, HasSubstr("has already been loaded"));
  EXPECT_EQ(StatusOf("POST", "/v1/load_lora_adapter",
                     R"({"lora_name":"sql","lora_path":"/sql","load_inplace":true})"),
            200);
  EXPECT_EQ(Call("POST", "/v1/unload_lora_adapter", R"({"lora_name":"sql"})").body,
            "Success: LoRA adapter 'sql' removed successfully.");
  const net::HttpResponse unknown =
      Call("POST", "/v1/unload_lora_adapter", R"({"lora_name":"sql"})");
  EXPECT_EQ(unknown.status, 404);
  EXPECT_THAT(unknown.body, HasSubstr("The lora adapter 'sql' cannot be found."));
  service_.FailSource("/none", {ErrorCode::kNotFound, "no directory", ""});
  const net::HttpResponse missing =
      Call("POST", "/v1/load_lora_adapter", R"({"lora_name":"x","lora_path":"/none"})");
  EXPECT_EQ(missing.status, 404);
  EXPECT_THAT(missing.body, HasSubstr("No adapter found for /none"));
  EXPECT_EQ(StatusOf("POST", "/v1/load_lora_adapter", "{}"), 400);
}

TEST_F(AdminApiTest, SglangsResults) {
  EXPECT_EQ(
      Call("POST", "/load_lora_adapter", R"({"lora_name":"a","lora_path":"/a","pinned":true})")
          .body,
      R"({"success":true,"error_message":"","loaded_adapters":{"a":"/a"}})");
  EXPECT_TRUE(service_.last_registration().is_pinned);
  const net::HttpResponse again =
      Call("POST", "/load_lora_adapter", R"({"lora_name":"a","lora_path":"/a"})");
  EXPECT_EQ(again.status, 400);
  EXPECT_THAT(again.body, HasSubstr("already loaded"));
  EXPECT_THAT(again.body, HasSubstr(R"("loaded_adapters":{"a":"/a"})"));
  EXPECT_EQ(StatusOf("POST", "/load_lora_adapter", "nonsense"), 400);
  EXPECT_EQ(Call("POST", "/unload_lora_adapter", R"({"lora_name":"a"})").body,
            R"({"success":true,"error_message":"","loaded_adapters":{}})");
  EXPECT_EQ(StatusOf("POST", "/unload_lora_adapter", R"({"lora_name":"a"})"), 400);
}

class AdminAccessLineTest : public AdminApiTest {
 protected:
  AdminAccessLineTest() : AdminApiTest(/*access_log=*/true) {}

  std::string LineOf(const std::string& method, const std::string& target, std::string body = "") {
    testing::internal::CaptureStderr();
    Call(method, target, std::move(body));
    log::Flush();
    return testing::internal::GetCapturedStderr();
  }
};

TEST_F(AdminAccessLineTest, SaysWhyInEveryDialect) {
  EXPECT_THAT(LineOf("POST", "/v1/adapters", "{}"), HasSubstr(", param name: "));
  EXPECT_THAT(LineOf("POST", "/v1/load_lora_adapter", "{}"), HasSubstr(": Both 'lora_name'"));
  EXPECT_THAT(LineOf("POST", "/load_lora_adapter", "{}"), HasSubstr(", param lora_name: "));
  EXPECT_THAT(LineOf("POST", "/adapters", "{}"), HasSubstr(", param name: "));
  for (const char* target : {"/v1/unload_lora_adapter", "/unload_lora_adapter"}) {
    EXPECT_THAT(LineOf("POST", target, R"({"lora_name":"x"})"),
                HasSubstr(" not_found, param name: There is no adapter `x`."));
  }
}

TEST_F(AdminApiTest, Sagemaker) {
  const net::HttpHeaders alias = {{"X-Amzn-SageMaker-Adapter-Alias", "Chinese"}};
  const net::HttpResponse registered =
      Call("POST", "/adapters", R"({"name":"ic-1","src":"/a","preload":true,"pin":false})", alias);
  EXPECT_EQ(registered.status, 200);
  EXPECT_EQ(registered.body, R"({"status":"Adapter Chinese registered"})");
  EXPECT_EQ(StatusOf("POST", "/adapters", R"({"name":"ic-1","src":"/a"})"), 409);
  EXPECT_EQ(StatusOf("POST", "/adapters", R"({"name":"","src":"/a"})"), 400);
  service_.FailSource("/bad", {ErrorCode::kSourceFailed, "cut", ""});
  EXPECT_EQ(StatusOf("POST", "/adapters", R"({"name":"bad","src":"/bad"})"), 424);
  EXPECT_EQ(Call("DELETE", "/adapters/ic-1").body, R"({"status":"Adapter ic-1 unregistered"})");
  EXPECT_EQ(StatusOf("DELETE", "/adapters/ic-1"), 404);
}

TEST_F(AdminApiTest, DjlsQueryStrings) {
  EXPECT_EQ(Call("POST", "/models/org/demo/adapters?name=t%2Fa1&src=%2Fopt%2Fa1&pin=true").body,
            R"({"status":"Adapter t/a1 registered"})");
  EXPECT_EQ(Call("GET", "/models/demo/adapters/t/a1").body,
            R"([{"name":"t/a1","src":"/opt/a1","preload":true,"pin":true}])");
  EXPECT_EQ(Call("POST", "/models/demo/adapters/t/a1/update?pin=false").body,
            R"({"status":"Adapter t/a1 updated"})");
  EXPECT_EQ(Call("GET", "/models/demo/adapters?limit=5").body,
            R"({"adapters":[{"name":"t/a1","src":"/opt/a1","preload":true,"pin":false}]})");
  EXPECT_EQ(StatusOf("GET", "/adapters"), 200);
  EXPECT_EQ(StatusOf("POST", "/models/demo/adapters/t/a1/update?src=/y"), 400);
  EXPECT_EQ(StatusOf("POST", "/models/demo/adapters/t/a1"), 404);
  EXPECT_EQ(StatusOf("POST", "/models/demo/adapters?name=x"), 400);
  EXPECT_EQ(StatusOf("DELETE", "/models/demo/adapters"), 400);
  EXPECT_EQ(StatusOf("DELETE", "/models/demo/adapters/t/a1"), 200);
  EXPECT_EQ(StatusOf("GET", "/models/demo/adapters/t/a1"), 404);
  for (const char* target :
       {"/models/nobody/adapters", "/models/demo", "/models/demo/adaptersx", "/models//adapters"}) {
    const net::HttpResponse answer = Call("GET", target);
    EXPECT_EQ(answer.status, 404) << target;
    EXPECT_EQ(json::parse(answer.body).at("code").as_int64(), 404);
  }
}

TEST_F(AdminApiTest, ASlowSourceKeepsNobodyWaiting) {
  service_.Hold();
  auto slow = Begin("POST", "/v1/adapters", R"({"name":"slow","source":"/slow"})");
  while (service_.num_held() == 0) std::this_thread::yield();
  EXPECT_EQ(StatusOf("POST", "/v1/adapters", "{"), 400);  // needs no service
  EXPECT_EQ(slow.wait_for(std::chrono::seconds(0)), std::future_status::timeout);
  service_.AnswerHeld();
  EXPECT_EQ(slow.get().status, 201);
}

TEST_F(AdminApiTest, AnswersAfterTheEndAreDropped) {
  service_.Hold();
  auto late = Begin("POST", "/v1/adapters", R"({"name":"late","source":"/late"})");
  while (service_.num_held() == 0) std::this_thread::yield();
  api_.reset();
  service_.AnswerHeld();
  EXPECT_THROW(late.get(), std::future_error) << "the writer is gone without an answer";
}

TEST_F(AdminApiTest, HostileBodiesAreOnlyRefused) {
  const std::string bodies[] = {std::string(100'000, '['),
                                std::string(70'000, ' '),
                                "\xff\xfe{}",
                                "null",
                                "[]",
                                "0",
                                "\"x\"",
                                R"({"name":{"name":{"name":{}}},"lora_name":[],"src":1})",
                                std::string("{\"name\":\"\0\"}", 12),
                                R"({"name":"a","source":"/a","name":"b","lora_path":{}})"};
  const std::pair<const char*, const char*> routes[] = {{"POST", "/v1/adapters"},
                                                        {"PATCH", "/v1/adapters/a"},
                                                        {"POST", "/v1/load_lora_adapter"},
                                                        {"POST", "/v1/unload_lora_adapter"},
                                                        {"POST", "/load_lora_adapter"},
                                                        {"POST", "/unload_lora_adapter"},
                                                        {"POST", "/adapters"}};
  for (const auto& [method, path] : routes) {
    for (const std::string& body : bodies) {
      const int status = StatusOf(method, path, body);
      EXPECT_TRUE(status >= 400 && status < 500) << method << path << body.substr(0, 40) << status;
    }
  }
}

}  // namespace
}  // namespace lorry::server
