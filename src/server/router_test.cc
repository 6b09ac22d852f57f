#include "server/router.h"

#include <gtest/gtest.h>

namespace lorry::server {
namespace {

TEST(Router, FindsRoutes) {
  EXPECT_EQ(FindRoute("GET", "/v1/models").route->endpoint, Endpoint::kModels);
  EXPECT_EQ(FindRoute("HEAD", "/health").route->endpoint, Endpoint::kHealth);
  EXPECT_EQ(FindRoute("POST", "/v1/chat/completions").route->endpoint, Endpoint::kChatCompletions);
  const RouteMatch model = FindRoute("GET", "/v1/models/team/fr");
  EXPECT_EQ(model.route->endpoint, Endpoint::kModel);
  EXPECT_EQ(model.rest, "team/fr");
}

TEST(Router, APathHasItsMethods) {
  EXPECT_EQ(FindRoute("GET", "/v1/adapters").route->endpoint, Endpoint::kAdapters);
  EXPECT_EQ(FindRoute("POST", "/v1/adapters").route->endpoint, Endpoint::kAdapters);
  const RouteMatch adapter = FindRoute("DELETE", "/v1/adapters/team/fr");
  EXPECT_EQ(adapter.route->endpoint, Endpoint::kAdapter);
  EXPECT_EQ(adapter.route->access, Access::kAdmin);
  EXPECT_EQ(adapter.rest, "team/fr");
  EXPECT_EQ(FindRoute("PUT", "/v1/adapters/a").allow, "GET, HEAD, PATCH, DELETE, OPTIONS");
  EXPECT_EQ(FindRoute("PUT", "/v1/adapters/a").status, 405);
  EXPECT_EQ(FindRoute("DELETE", "/v1/adapters").status, 405);
  EXPECT_EQ(FindRoute("GET", "/models/org/base/adapters/a").rest, "org/base/adapters/a");
}

TEST(Router, SaysWhatIsMissing) {
  EXPECT_EQ(FindRoute("GET", "/").route->endpoint, Endpoint::kRoot);
  EXPECT_EQ(FindRoute("GET", "/index.html").status, 404);
  EXPECT_EQ(FindRoute("GET", "/v1/modelsx").status, 404);
  EXPECT_EQ(FindRoute("POST", "/health/").status, 404);
  for (const char* path : {"/v1/models/", "/v1/adapters/", "/adapters/", "/models/"}) {
    EXPECT_EQ(FindRoute("GET", path).status, 404) << path;  // no name is there
  }
  const RouteMatch wrong = FindRoute("DELETE", "/v1/completions");
  EXPECT_EQ(wrong.status, 405);
  EXPECT_EQ(wrong.allow, "POST, OPTIONS");
  EXPECT_EQ(FindRoute("HEAD", "/v1/completions").status, 405);
  EXPECT_EQ(FindRoute("OPTIONS", "/v1/models").status, 204);
}

TEST(Router, NamesThePathThatWasMeant) {
  const std::pair<const char*, const char*> rows[] = {
      {"/chat/completions", "/v1/chat/completions"},
      {"//v1/chat/completions", "/v1/chat/completions"},
      {"/v1/chat/completions/", "/v1/chat/completions"},
      {"/v1/v1/chat/completions", "/v1/chat/completions"},
      {"/v1//completions//", "/v1/completions"},
      {"/V1/Chat/Completions", "/v1/chat/completions"},
      {"/openai/v1/models", "/v1/models"},
      {"/api/completions", "/v1/completions"},
      {"/v1/tokenize", "/tokenize"},
      {"/v1/health", "/health"},
      {"/metrics/", "/metrics"},
      {"/models/", "/v1/models"},
      {"/v1/models/", "/v1/models"},
      {"/v1/adapters/", "/v1/adapters"},
      {"/adapters/", "/adapters"},
      {"/v1/completion", "/v1/completions"},
      {"/v1/chat/completion", "/v1/chat/completions"},
      {"/helth", "/health"},
      {"/V1/Models/Team/Fr", "/v1/models/Team/Fr"},
      {"/index.html", ""},
      {"/v1/embeddings", ""},
      {"*", ""},
      {"/", ""},
      {"//", ""}};
  for (const auto& [path, meant] : rows) EXPECT_EQ(NearestPath(path), meant) << path;
  EXPECT_EQ(NearestPath("/" + std::string(60'000, 'a')), "");
  EXPECT_EQ(NearestPath(std::string(60'000, '/')), "");
}

}  // namespace
}  // namespace lorry::server
