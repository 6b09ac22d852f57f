// How the HTTP side is set up.
#pragma once

#include <string>
#include <vector>

#include "base/clock.h"
#include "net/http_server.h"
#include "request/sampling_params.h"

namespace lorry::server {

struct ServerOptions {
  net::HttpServerOptions http;
  std::vector<std::string>
      api_keys;  // any of them opens /v1, /tokenize and /detokenize; empty: no key is needed
  int num_text_threads =
      1;  // that parse, template and tokenise; more when prompts are long and many
  int max_pending_requests = 1024;  // that wait for a text thread; beyond: 429
  int max_logprobs = 20;            // the most that a request may ask for
  SamplingParams
      default_sampling;  // of requests that do not say: the model's generation_config.json
  bool access_log = true;
  std::string version;  // what /version says
  const Clock* clock = &Clock::Steady();
};

}  // namespace lorry::server
