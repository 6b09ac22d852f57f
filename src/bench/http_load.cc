#include "bench/http_load.h"

#include <atomic>
#include <boost/json.hpp>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <map>
#include <thread>

#include "base/random.h"
#include "bench/server_metrics.h"
#include "bench/statistics.h"
#include "net/http_client.h"

namespace lorry::bench {
namespace {

namespace json = boost::json;
using SteadyClock = std::chrono::steady_clock;

double Seconds(SteadyClock::duration duration) {
  return std::chrono::duration<double>(duration).count();
}

// What one worker saw; merged at the end.
struct Samples {
  std::vector<double> first_token_s;  // from the request's arrival
  std::vector<double> inter_token_s;  // between successive events of a stream
  std::vector<double> total_s;
  int64_t output_tokens = 0;
  std::map<std::string, int> errors;

  void Merge(const Samples& other) {
    const auto append = [](std::vector<double>& to, const std::vector<double>& from) {
      to.insert(to.end(), from.begin(), from.end());
    };
    append(first_token_s, other.first_token_s);
    append(inter_token_s, other.inter_token_s);
    append(total_s, other.total_s);
    output_tokens += other.output_tokens;
    for (const auto& [text, count] : other.errors) errors[text] += count;
  }
};

// "401: No API key was sent." of an error's body, in OpenAI's form or any other.
std::string RefusalShown(const net::HttpResponse& response) {
  boost::system::error_code bad_json;
  const json::value body = json::parse(response.body, bad_json);
  std::string message = response.body.substr(0, 200);
  const json::object* object = bad_json ? nullptr : body.if_object();
  const json::value* error = object == nullptr ? nullptr : object->if_contains("error");
  if (error != nullptr && error->is_object()) error = error->get_object().if_contains("message");
  if (error != nullptr && error->is_string()) message = error->get_string();
  return fmt::format("HTTP {}{}{}", response.status, message.empty() ? "" : ": ", message);
}

struct ServerUnderTest {
  net::HttpUrl url;
  net::HttpHeaders headers;
  std::string base;
  std::vector<std::string> adapters;
};

// Draws of one kind: (seed, stream) name a sequence of independent uniforms.
double Uniform(const HttpLoadOptions& options, uint32_t stream, uint64_t index) {
  return UniformAt(options.seed, stream, index);
}
constexpr uint32_t kAdapterDraws = 1u << 30, kArrivalDraws = kAdapterDraws + 1;

const std::string& ModelOf(const HttpLoadOptions& options, const ServerUnderTest& server,
                           int request_idx) {
  const auto& adapters = server.adapters;
  if (options.mix == "base") return server.base;
  if (options.mix == "same") return adapters.front();
  if (options.mix == "distinct") return adapters[request_idx % adapters.size()];
  double total = 0;
  for (size_t i = 0; i < adapters.size(); ++i) total += std::pow(i + 1.0, -options.zipf_exponent);
  double left = Uniform(options, kAdapterDraws, request_idx) * total;
  for (size_t i = 0; i < adapters.size(); ++i) {
    left -= std::pow(i + 1.0, -options.zipf_exponent);
    if (left <= 0) return adapters[i];
  }
  return adapters.back();
}

std::string BodyOf(const HttpLoadOptions& options, const ServerUnderTest& server, int request_idx) {
  json::object body{{"model", ModelOf(options, server, request_idx)},
                    {"max_tokens", options.output_tokens},
                    {"temperature", 0},
                    {"ignore_eos", true},
                    {"stream", true}};
  if (options.text_prompts) {
    std::string text;
    for (int i = 0; i < options.prompt_tokens; ++i) {
      text += static_cast<char>('a' + static_cast<int>(26 * Uniform(options, request_idx, i)));
    }
    body["prompt"] = text;
  } else {
    json::array ids;
    for (int i = 0; i < options.prompt_tokens; ++i) {
      ids.push_back(32 + static_cast<int>(200 * Uniform(options, request_idx, i)));
    }
    body["prompt"] = std::move(ids);
  }
  return json::serialize(body);
}

void RunRequest(const HttpLoadOptions& options, const ServerUnderTest& server,
                net::HttpClient& client, int request_idx, SteadyClock::time_point arrival,
                Samples& samples) {
  int events = 0;
  SteadyClock::time_point last = arrival;
  std::string stream_error;
  const auto response =
      client.StreamEvents({.method = "POST",
                           .target = server.url.path + "/v1/completions",
                           .headers = server.headers,
                           .body = BodyOf(options, server, request_idx),
                           .timeout = std::chrono::minutes(10)},
                          [&](std::string_view data) {
                            if (data == "[DONE]") return true;
                            if (data.starts_with("{\"error\"")) stream_error = data;
                            const auto now = SteadyClock::now();
                            (events++ == 0 ? samples.first_token_s : samples.inter_token_s)
                                .push_back(Seconds(now - last));
                            last = now;
                            return true;
                          });
  if (!response) {
    ++samples.errors[response.error().message];
  } else if (response->status != 200) {
    ++samples.errors[RefusalShown(*response)];
  } else if (!stream_error.empty()) {
    ++samples.errors[stream_error];
  } else {
    samples.total_s.push_back(Seconds(SteadyClock::now() - arrival));
    samples.output_tokens += options.output_tokens;
  }
}

// Arrival times of a Poisson process, from the start; empty for a closed loop.
std::vector<double> Arrivals(const HttpLoadOptions& options) {
  std::vector<double> arrivals;
  double at_s = 0;
  if (options.requests_per_s <= 0) return arrivals;
  for (int i = 0; i < options.num_requests; ++i) {
    at_s -= std::log(1.0 - Uniform(options, kArrivalDraws, i)) / options.requests_per_s;
    arrivals.push_back(at_s);
  }
  return arrivals;
}

// Requests [first, first + count), on num_streams connections.
Samples RunRequests(const HttpLoadOptions& options, const ServerUnderTest& server, int first,
                    int count, const std::vector<double>& arrivals, bool progress) {
  std::atomic<int> next = 0, done = 0;
  std::vector<Samples> samples(options.num_streams);
  std::vector<std::thread> workers;
  const auto start = SteadyClock::now();
  for (int w = 0; w < options.num_streams; ++w) {
    workers.emplace_back([&, w] {
      net::HttpClient client(server.url.host, server.url.port);
      for (int i = next++; i < count; i = next++) {
        auto arrival = SteadyClock::now();
        if (!arrivals.empty()) {
          arrival = start + std::chrono::duration_cast<SteadyClock::duration>(
                                std::chrono::duration<double>(arrivals[i]));
          std::this_thread::sleep_until(arrival);
        }
        RunRequest(options, server, client, first + i, arrival, samples[w]);
        const int finished = ++done;
        if (progress && finished % 8 == 0) {
          std::fprintf(stderr, "\r%d of %d requests", finished, count);
        }
      }
    });
  }
  for (std::thread& worker : workers) worker.join();
  if (progress) std::fprintf(stderr, "\r%30s\r", "");
  Samples all;
  for (const Samples& part : samples) all.Merge(part);
  return all;
}

Result<ServerUnderTest> FindServer(const HttpLoadOptions& options) {
  ServerUnderTest server;
  ASSIGN_OR_RETURN(server.url, net::ParseHttpUrl(options.url));
  server.headers.Add("Content-Type", "application/json");
  if (!options.api_key.empty()) server.headers.Add("Authorization", "Bearer " + options.api_key);
  net::HttpClient client(server.url.host, server.url.port);
  ASSIGN_OR_RETURN(
      const net::HttpResponse response,
      client.Send({.target = server.url.path + "/v1/models", .headers = server.headers}));
  if (response.status == 401 || response.status == 403) {
    return Fail(ErrorCode::kUnauthenticated,
                fmt::format("{}: {}; the key is --api-key or LORRY_API_KEY", options.url,
                            RefusalShown(response)));
  }
  boost::system::error_code error;
  const json::value models = json::parse(response.body, error);
  const auto* data =
      error || !models.is_object() ? nullptr : models.as_object().if_contains("data");
  if (response.status != 200 || data == nullptr || !data->is_array()) {
    return Fail(ErrorCode::kUnavailable,
                fmt::format("{}/v1/models answered {}; not an OpenAI server?", options.url,
                            RefusalShown(response)));
  }
  for (const json::value& model : data->as_array()) {
    const json::object* card = model.if_object();
    if (card == nullptr || !card->contains("id") || !card->at("id").is_string()) continue;
    const std::string id(card->at("id").as_string());
    const json::value* parent = card->if_contains("parent");
    if (parent != nullptr && parent->is_string()) {
      server.adapters.push_back(id);
    } else if (server.base.empty()) {
      server.base = id;
    }
  }
  if (!options.adapters.empty()) server.adapters = options.adapters;
  if (options.mix != "base" && server.adapters.empty()) {
    return Fail(ErrorCode::kNotFound,
                fmt::format("{} lists no adapters; --mix base needs none", options.url));
  }
  return server;
}

json::object Quantiles(const char* name, const std::vector<double>& seconds) {
  const double p50 = Percentile(seconds, 50) * 1e3, p95 = Percentile(seconds, 95) * 1e3,
               p99 = Percentile(seconds, 99) * 1e3;
  fmt::print("{:<22}{:>10.2f}{:>10.2f}{:>10.2f}\n", name, p50, p95, p99);
  return {{"p50_ms", p50}, {"p95_ms", p95}, {"p99_ms", p99}};
}

}  // namespace

Result<json::object> RunHttpLoad(const HttpLoadOptions& options) {
  ASSIGN_OR_RETURN(const ServerUnderTest server, FindServer(options));
  // Requests of the warm-up have numbers of their own, so that no prompt comes twice.
  RunRequests(options, server, options.num_requests, options.num_warmup, {}, false);
  const auto before = ReadEngineSeconds(server.url, server.headers);
  const auto start = SteadyClock::now();
  const Samples samples =
      RunRequests(options, server, 0, options.num_requests, Arrivals(options), true);
  const double wall_s = Seconds(SteadyClock::now() - start);
  const auto after = ReadEngineSeconds(server.url, server.headers);

  int num_errors = 0;
  for (const auto& [text, count] : samples.errors) num_errors += count;
  const double tokens_per_s = static_cast<double>(samples.output_tokens) / wall_s;
  fmt::print(
      "{} requests ({}), {} streams, {} tokens in, {} out: {:.1f} tok/s, {:.2f} req/s, {} "
      "errors\n\n",
      options.num_requests, options.mix, options.num_streams, options.prompt_tokens,
      options.output_tokens, tokens_per_s, samples.total_s.size() / wall_s, num_errors);
  fmt::print("{:<22}{:>10}{:>10}{:>10}\n", "ms", "p50", "p95", "p99");
  json::object report{{"url", options.url},
                      {"mix", options.mix},
                      {"streams", options.num_streams},
                      {"requests_per_s_offered", options.requests_per_s},
                      {"requests", options.num_requests},
                      {"prompt_tokens", options.prompt_tokens},
                      {"output_tokens", options.output_tokens},
                      {"wall_s", wall_s},
                      {"output_tokens_per_s", tokens_per_s}};
  report["first_token"] = Quantiles("first token", samples.first_token_s);
  report["inter_token"] = Quantiles("inter-token", samples.inter_token_s);
  report["total"] = Quantiles("total", samples.total_s);
  json::object errors;
  for (const auto& [text, count] : samples.errors) {
    errors[text] = count;
    fmt::print("error: {} x {}\n", count, text);
  }
  report["errors"] = std::move(errors);
  if (samples.total_s.empty()) {
    return Fail(ErrorCode::kUnavailable, fmt::format("all {} requests failed", num_errors));
  }
  if (before && after) {
    const double forward_share = (after->forward_s - before->forward_s) / wall_s;
    fmt::print("\nforward passes {:.1f} % of the wall time, all else {:.1f} %\n",
               forward_share * 100, (1 - forward_share) * 100);
    report["forward_share_of_wall"] = forward_share;
  }
  return report;
}

}  // namespace lorry::bench
