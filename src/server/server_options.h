// How the HTTP side is set up.
#pragma once

#include <string>
#include <vector>

#include "base/clock.h"
#include "net/http_server.h"
#include "request/sampling_params.h"
#include "text/text_sandbox.h"

namespace lorry::server {

// How adapters may be managed while the server runs (admin_access.h); as it is here, not at all.
struct AdminOptions {
  std::string key;                 // of management alone; empty: there is none
  std::string host = "127.0.0.1";  // of a listener for management and the open routes, with
  int port = -1;                   // 0: any free one; -1: there is no such listener
  int max_connections = 64;        // of that listener, as in net::HttpServerOptions
  int max_newcomers = 1024;
  bool vllm_for_clients = false;  // who may generate may also load and unload, by vLLM's routes
};

// Who may read /metrics.
enum class MetricsAccess {
  kOpen,      // everyone
  kNameless,  // everyone; adapters' names only who may manage them
  kKey,       // who has an API key or the admin key
  kAdmin,     // who may manage adapters
};

struct ServerOptions {
  net::HttpServerOptions http;
  std::vector<std::string>
      api_keys;  // any of them opens /v1, /tokenize and /detokenize; empty: no key is needed
  int num_text_threads =
      1;  // that parse, template and tokenise; more when prompts are long and many
  int max_pending_requests = 1024;  // that wait in one of text's lanes; beyond: 429
  // Of all bodies that are not tokenised yet. One half for those that are still arriving, of which
  // the listener for managing has an eighth, if there is one (beyond: the oldest gets a 503); the
  // other for long ones that wait (text_threads.h; beyond: 429).
  size_t max_pending_bytes = 512 << 20;
  // Files of adapters' own tokenizers and templates that are kept parsed.
  size_t max_adapter_text_bytes = 128 << 20;
  text::SandboxOptions sandbox;  // where these run
  int max_logprobs = 20;         // the most that a request may ask for
  int max_sequences = 1024;      // of a request, prompts times n; beyond: 400
  SamplingParams
      default_sampling;  // of requests that do not say: the model's generation_config.json
  AdminOptions admin;
  MetricsAccess metrics = MetricsAccess::kOpen;
  bool access_log = true;
  std::string version;  // what /version says
  const Clock* clock = &Clock::Steady();
};

}  // namespace lorry::server
