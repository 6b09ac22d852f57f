// Who may manage adapters: nobody, unless the operator said how. A key of its own opens the routes
// on every listener; a listener of their own (loopback by default) is open without a key when there
// is none.
// Owns: the key. Thread: any. Never: takes a client's API key for the admin's.
#pragma once

#include "base/result.h"
#include "net/http_message.h"
#include "server/auth.h"
#include "server/router.h"
#include "server/server_options.h"

namespace lorry::server {

enum class Listener { kClients, kAdmin };

class AdminAccess {
 public:
  // `clients` decides where vLLM's calls are open to ordinary clients; it outlives this.
  AdminAccess(const AdminOptions& options, const Auth& clients)
      : options_(options), clients_(clients) {}

  // kNotFound: management is off here; kUnauthenticated: no or a wrong key; kPermission: a web page
  // asks, by its visitor's browser.
  Status Check(Endpoint endpoint, const net::HttpHeaders& headers, Listener listener) const;

  // Of a request on the management listener. kPermission: where no key is asked for, a request that
  // was meant for another host is a web page's that had its name lead here (DNS rebinding).
  Status CheckHost(const net::HttpHeaders& headers) const;

 private:
  const AdminOptions options_;
  const Auth& clients_;
};

// What is wrong with the key of a header that should have the admin key, or how to send it.
std::string WhyNoAdminKey(const net::HttpHeaders& headers);

// "localhost", or an address of 127.0.0.0/8 or ::1.
bool IsLoopback(const std::string& host);

}  // namespace lorry::server
