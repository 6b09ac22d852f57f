// Admission: what a request's header decides, before anything of its body is kept: the route and
// method, who may call, what the body is and how long.
// Owns: nothing. Thread: any. Never: looks at a body.
#pragma once

#include <tl/expected.hpp>

#include "net/http_server.h"
#include "server/admin_access.h"
#include "server/router.h"
#include "server/server_options.h"

namespace lorry::server {

struct Refusal {
  Error error;
  int status = 0;  // 0: as the error says
  net::HttpHeaders headers;
};

class Admission {
 public:
  // All outlive this.
  Admission(const ServerOptions& options, const Auth& clients, const AdminAccess& admins)
      : options_(options), clients_(clients), admins_(admins) {}

  // What the operator wants and cannot have, or should not.
  static Status CheckOptions(const ServerOptions& options);

  // Of an OPTIONS, a refusal with status 204.
  tl::expected<net::HttpVerdict, Refusal> Judge(const RouteMatch& match,
                                                const net::HttpRequest& head, bool has_body,
                                                Listener listener) const;

  // Of a request for /metrics that was let in: may it see adapters' names?
  bool ShowsNames(const net::HttpHeaders& headers, Listener listener) const;

 private:
  Status CheckAccess(const Route& route, const net::HttpHeaders& headers, Listener listener) const;
  Status CheckMetrics(const net::HttpHeaders& headers, Listener listener) const;

  const ServerOptions& options_;
  const Auth& clients_;
  const AdminAccess& admins_;
};

}  // namespace lorry::server
