#include "server/listener_options.h"

namespace lorry::server {
namespace {

constexpr size_t kAdminShare = 8;  // its part of what both listeners may hold

}  // namespace

size_t WaitingBodyBytes(const ServerOptions& options) { return options.max_pending_bytes / 2; }

net::HttpServerOptions ListenerOptions(const ServerOptions& options, Listener listener) {
  net::HttpServerOptions http = options.http;
  http.max_unfinished_body_bytes = options.max_pending_bytes - WaitingBodyBytes(options);
  const AdminOptions& admin = options.admin;
  const bool is_admin = listener == Listener::kAdmin;
  for (size_t* bytes : {&http.max_unfinished_header_bytes, &http.max_unfinished_body_bytes,
                        &http.max_unread_newcomer_bytes}) {
    const size_t admin_bytes = admin.port < 0 ? 0 : *bytes / kAdminShare;
    *bytes = is_admin ? admin_bytes : *bytes - admin_bytes;
  }
  if (!is_admin) return http;
  http.host = admin.host;
  http.port = admin.port;
  http.num_io_threads = 1;
  http.max_connections = admin.max_connections;
  http.max_newcomers = admin.max_newcomers;
  return http;
}

}  // namespace lorry::server
