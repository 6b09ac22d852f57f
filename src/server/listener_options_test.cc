#include "server/listener_options.h"

#include <gtest/gtest.h>

namespace lorry::server {
namespace {

TEST(ListenerOptionsTest, BothTogetherHoldNoMoreThanTheOptionsSay) {
  for (const int admin_port : {-1, 0}) {
    for (const size_t pending_bytes : {size_t{1}, size_t{1'000'003}, size_t{512} << 20}) {
      ServerOptions options;
      options.admin.port = admin_port;
      options.max_pending_bytes = pending_bytes;
      const auto clients = ListenerOptions(options, Listener::kClients);
      const auto admin = ListenerOptions(options, Listener::kAdmin);
      EXPECT_EQ(clients.max_unfinished_body_bytes + admin.max_unfinished_body_bytes +
                    WaitingBodyBytes(options),
                pending_bytes);
      EXPECT_EQ(clients.max_unfinished_header_bytes + admin.max_unfinished_header_bytes,
                options.http.max_unfinished_header_bytes);
      EXPECT_EQ(clients.max_unread_newcomer_bytes + admin.max_unread_newcomer_bytes,
                options.http.max_unread_newcomer_bytes);
      EXPECT_EQ(admin.max_unfinished_header_bytes > 0, admin_port >= 0);
      EXPECT_GT(clients.max_unfinished_body_bytes, admin.max_unfinished_body_bytes);
    }
  }
}

TEST(ListenerOptionsTest, ConnectionsAreEachListenersOwn) {
  ServerOptions options;
  options.http.max_connections = 7;
  options.http.max_newcomers = 5;
  options.admin = {.port = 0, .max_connections = 3, .max_newcomers = 2};
  const auto clients = ListenerOptions(options, Listener::kClients);
  const auto admin = ListenerOptions(options, Listener::kAdmin);
  EXPECT_EQ(clients.max_connections, 7);
  EXPECT_EQ(clients.max_newcomers, 5);
  EXPECT_EQ(admin.max_connections, 3);
  EXPECT_EQ(admin.max_newcomers, 2);
}

}  // namespace
}  // namespace lorry::server
