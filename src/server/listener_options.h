// How the listener for clients and the one for managing are set up, and what each may hold of what
// both hold together.
#pragma once

#include "net/http_server.h"
#include "server/admin_access.h"
#include "server/server_options.h"

namespace lorry::server {

net::HttpServerOptions ListenerOptions(const ServerOptions& options, Listener listener);

// Of max_pending_bytes: for bodies that have come and are not tokenised yet (text_threads.h).
size_t WaitingBodyBytes(const ServerOptions& options);

}  // namespace lorry::server
