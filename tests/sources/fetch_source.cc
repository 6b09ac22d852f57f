// One fetch for the tests beside this file: what to fetch as a JSON object in the first argument,
// the outcome as one line of JSON.
#include <atomic>
#include <boost/json/parse.hpp>
#include <boost/json/serialize.hpp>
#include <chrono>
#include <cstdio>
#include <string>
#include <thread>

#include "adapters/sources/source.h"

namespace {

namespace json = boost::json;
using lorry::adapters::Fetched;
using lorry::adapters::FetchRequest;
using lorry::adapters::SourceOptions;

std::string Text(const json::object& input, std::string_view key, std::string fallback = {}) {
  const json::value* value = input.if_contains(key);
  return value == nullptr ? fallback : std::string(value->as_string());
}

template <typename T>
void Number(const json::object& input, std::string_view key, T* out) {
  if (const json::value* value = input.if_contains(key)) *out = value->to_number<T>();
}

SourceOptions OptionsOf(const json::object& input) {
  SourceOptions options;
  options.hub.endpoint = Text(input, "hub_endpoint", options.hub.endpoint);
  options.hub.token = Text(input, "hub_token");
  options.hub.cache_dir = Text(input, "hub_cache");
  options.hub.offline = input.contains("offline");
  if (const json::value* settings = input.if_contains("settings")) {
    for (const auto& [key, value] : settings->as_object()) {
      options.store_settings.emplace_back(key, value.as_string());
    }
  }
  if (const json::value* hosts = input.if_contains("allow")) {
    for (const json::value& host : hosts->as_array()) {
      options.allow_private_hosts.emplace_back(host.as_string());
    }
  }
  Number(input, "connect_timeout_ms", &options.connect_timeout_ms);
  Number(input, "idle_timeout_ms", &options.idle_timeout_ms);
  Number(input, "total_timeout_ms", &options.total_timeout_ms);
  Number(input, "retries", &options.retries);
  Number(input, "backoff_ms", &options.backoff_ms);
  Number(input, "max_bytes", &options.max_bytes);
  Number(input, "least_bytes_per_second", &options.least_bytes_per_second);
  Number(input, "rate_window_ms", &options.rate_window_ms);
  return options;
}

json::object Run(const json::object& input) {
  const auto failed = [](const lorry::Error& error) {
    return json::object{{"code", lorry::ErrorCodeName(error.code)},
                        {"message", error.message},
                        {"param", error.param}};
  };
  auto uri = lorry::adapters::ParseSourceUri(Text(input, "uri"));
  if (!uri) return failed(uri.error());

  std::atomic<bool> cancelled = false;
  std::jthread canceller;
  if (const json::value* after_ms = input.if_contains("cancel_after_ms")) {
    canceller = std::jthread([&, delay = std::chrono::milliseconds(after_ms->as_int64())] {
      std::this_thread::sleep_for(delay);
      cancelled = true;
    });
  }
  uint64_t done = 0;
  uint64_t total = 0;
  const FetchRequest request{
      .uri = *uri,
      .token = Text(input, "token"),
      .staging_dir = Text(input, "staging"),
      .known_revision = Text(input, "known_revision"),
      .cancelled = &cancelled,
      .progress =
          [&](uint64_t done_bytes, uint64_t total_bytes) {
            done = done_bytes;
            total = total_bytes;
          },
      .look = [refuse = Text(input, "refuse")](std::string_view name, const std::string&,
                                               uint64_t file_bytes) -> lorry::Status {
        if (name != refuse) return {};
        return lorry::Fail(lorry::ErrorCode::kUnfit, fmt::format("refused, {} bytes", file_bytes));
      }};
  const auto fetched = lorry::adapters::Fetch(request, OptionsOf(input));
  if (!fetched) {
    json::object failure = failed(fetched.error());
    failure["done"] = done;
    return failure;
  }
  return {{"code", "ok"},
          {"dir", fetched->dir},
          {"archive", fetched->archive},
          {"revision", fetched->revision},
          {"unchanged", fetched->unchanged},
          {"bytes", fetched->bytes},
          {"done", done},
          {"total", total}};
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 2) return 2;
  const json::object outcome = Run(json::parse(argv[1]).as_object());
  std::puts(json::serialize(outcome).c_str());
  return 0;
}
