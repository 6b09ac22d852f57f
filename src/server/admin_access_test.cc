#include "server/admin_access.h"

#include <gtest/gtest.h>

namespace lorry::server {
namespace {

constexpr ErrorCode kGranted = ErrorCode::kCancelled;

struct Door {
  AdminOptions options;
  std::vector<std::string> client_keys = {"client"};
};

ErrorCode Knock(const Door& door, Listener listener, const net::HttpHeaders& headers,
                Endpoint endpoint = Endpoint::kAdapters) {
  const Auth clients(door.client_keys);
  const Status status = AdminAccess(door.options, clients).Check(endpoint, headers, listener);
  return status ? kGranted : status.error().code;
}

const net::HttpHeaders kAdminBearer = {{"Authorization", "Bearer admin"}};
const net::HttpHeaders kClientBearer = {{"Authorization", "Bearer client"}};

TEST(AdminAccess, IsOffUnlessTheOperatorSaysHow) {
  EXPECT_EQ(Knock({}, Listener::kClients, {}), ErrorCode::kNotFound);
  EXPECT_EQ(Knock({}, Listener::kClients, kClientBearer), ErrorCode::kNotFound);
  EXPECT_EQ(Knock({}, Listener::kClients, {{"X-Api-Key", ""}}), ErrorCode::kNotFound);
  EXPECT_EQ(Knock({.client_keys = {}}, Listener::kClients, {}, Endpoint::kVllmLoad),
            ErrorCode::kNotFound);
}

TEST(AdminAccess, TheAdminKeyOpensAndNoOther) {
  const Door door = {.options = {.key = "admin"}};
  for (const Listener listener : {Listener::kClients, Listener::kAdmin}) {
    EXPECT_EQ(Knock(door, listener, kAdminBearer), kGranted);
    EXPECT_EQ(Knock(door, listener, {{"x-api-key", "admin"}}), kGranted);
    EXPECT_EQ(Knock(door, listener, kClientBearer), ErrorCode::kUnauthenticated);
    EXPECT_EQ(Knock(door, listener, {{"x-api-key", "client"}}), ErrorCode::kUnauthenticated);
    EXPECT_EQ(Knock(door, listener, {}), ErrorCode::kUnauthenticated);
    EXPECT_EQ(Knock(door, listener, {{"Authorization", "Bearer "}}), ErrorCode::kUnauthenticated);
  }
}

TEST(AdminAccess, ItsOwnListenerNeedsNoKeyWhereThereIsNone) {
  const Door door = {.options = {.port = 0}};
  EXPECT_EQ(Knock(door, Listener::kAdmin, {}), kGranted);
  EXPECT_EQ(Knock(door, Listener::kClients, {}), ErrorCode::kNotFound);
  EXPECT_EQ(Knock(door, Listener::kAdmin, {{"Origin", "https://elsewhere.example"}}),
            ErrorCode::kPermission);
}

TEST(AdminAccess, ClientsMayLoadByVllmsRoutesIfTheOperatorSaysSo) {
  const Door door = {.options = {.vllm_for_clients = true}};
  EXPECT_EQ(Knock(door, Listener::kClients, kClientBearer, Endpoint::kVllmLoad), kGranted);
  EXPECT_EQ(Knock(door, Listener::kClients, kClientBearer, Endpoint::kVllmUnload), kGranted);
  EXPECT_EQ(Knock(door, Listener::kClients, {}, Endpoint::kVllmLoad), ErrorCode::kUnauthenticated);
  for (const Endpoint other : {Endpoint::kAdapters, Endpoint::kAdapter, Endpoint::kSglangLoad,
                               Endpoint::kSagemakerAdapters, Endpoint::kDjlModels}) {
    EXPECT_EQ(Knock(door, Listener::kClients, kClientBearer, other), ErrorCode::kNotFound);
  }
  const Door open = {.options = {.vllm_for_clients = true}, .client_keys = {}};
  EXPECT_EQ(Knock(open, Listener::kClients, {}, Endpoint::kVllmLoad), kGranted);
  EXPECT_EQ(Knock(open, Listener::kClients, {{"Origin", "null"}}, Endpoint::kVllmLoad),
            ErrorCode::kPermission);
}

}  // namespace
}  // namespace lorry::server
