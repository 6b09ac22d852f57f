// A load over HTTP against any OpenAI-compatible server: closed loop (so many streams, each sends
// its next request when the last one ended) or Poisson arrivals; over the base, one adapter,
// different ones or a Zipf mix.
#pragma once

#include <boost/json/object.hpp>
#include <cstdint>
#include <string>
#include <vector>

#include "base/result.h"

namespace lorry::bench {

struct HttpLoadOptions {
  std::string url = "http://127.0.0.1:8000";
  std::string api_key;
  std::string mix = "base";           // base | same | distinct | zipf
  double zipf_exponent = 1.0;         // popularity of the i-th adapter: 1 / i^exponent
  std::vector<std::string> adapters;  // empty: those that /v1/models lists with a parent
  int num_streams = 8;                // closed loop; with a rate the most requests in flight
  double requests_per_s = 0;          // above 0: Poisson arrivals at this rate
  int num_requests = 96;
  int num_warmup = 8;  // before the clock starts
  int prompt_tokens = 64;
  int output_tokens = 64;
  bool text_prompts = false;  // send text (one character a token) instead of token ids
  uint64_t seed = 1;
};

// Prints a table and progress; returns the same as JSON. A request that fails is counted, not
// fatal; kUnavailable when all do, or the server cannot be reached at all.
Result<boost::json::object> RunHttpLoad(const HttpLoadOptions& options);

}  // namespace lorry::bench
