#include "server/journal.h"

#include "api/openai/json_text.h"
#include "base/log.h"

namespace lorry::server {
namespace {

const prometheus::Histogram::BucketBoundaries kSeconds = {
    .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60, 300};

double Millis(Micros from_us, Micros to_us) { return static_cast<double>(to_us - from_us) * 1e-3; }

// Paths come from clients: in a text log they may not forge lines.
std::string Printable(std::string_view text) {
  std::string out;
  api::openai::AppendJsonString(out, text);
  return out.substr(1, out.size() - 2);
}

std::string_view KnownMethod(std::string_view method) {
  for (const std::string_view known :
       {"GET", "POST", "HEAD", "OPTIONS", "PUT", "PATCH", "DELETE"}) {
    if (method == known) return known;
  }
  return "other";
}

}  // namespace

Journal::Journal(prometheus::Registry& registry, bool access_log)
    : requests_(prometheus::BuildCounter()
                    .Name("lorry:http_requests_total")
                    .Help("HTTP requests that ended; 499: the client went away.")
                    .Register(registry)),
      seconds_(prometheus::BuildHistogram()
                   .Name("lorry:http_request_duration_seconds")
                   .Help("From the request to the end of its answer.")
                   .Register(registry)),
      queued_seconds_(
          prometheus::BuildHistogram()
              .Name("lorry:request_queued_seconds")
              .Help("From the arrival of a request to the engine's queue: parsing, the chat "
                    "template, tokenising, and the wait for an adapter that was not there.")
              .Register(registry)
              .Add({}, kSeconds)),
      dropped_lines_(
          prometheus::BuildCounter()
              .Name("lorry:log_lines_dropped_total")
              .Help(
                  "Lines of the log that were not written: whoever reads it stalled, or has gone.")
              .Register(registry)
              .Add({})),
      access_log_(access_log) {}

void Journal::Update() { dropped_lines_.RaiseTo(log::NumDroppedLines()); }

void Journal::Write(const JournalEntry& entry) {
  const std::string handler(entry.route.empty() ? "none" : entry.route);
  requests_
      .Add({{"handler", handler},
            {"method", std::string(KnownMethod(entry.method))},
            {"status", std::to_string(entry.status)}})
      .Increment();
  seconds_.Add({{"handler", handler}}, kSeconds)
      .Observe(SecondsBetween(entry.received_us, entry.ended_us));
  if (entry.queued_us) queued_seconds_.Observe(SecondsBetween(entry.received_us, *entry.queued_us));
  if (access_log_) {
    log::WriteFields(log::Level::kInfo, AccessText(entry), AccessJson(entry));
  }
}

std::string AccessText(const JournalEntry& entry) {
  std::string line =
      fmt::format("{} {} {} {} in {:.1f} ms", entry.remote_address, Printable(entry.method),
                  Printable(entry.path), entry.status, Millis(entry.received_us, entry.ended_us));
  if (!entry.adapter.empty()) line += ", adapter " + Printable(entry.adapter);
  if (!entry.model.empty()) {
    line += fmt::format(", {}: {} + {} tokens", Printable(entry.model), entry.prompt_tokens,
                        entry.completion_tokens);
  }
  if (!entry.error_message.empty()) {
    line += ", " + entry.error_code;
    if (!entry.error_param.empty()) line += ", param " + Printable(entry.error_param);
    if (entry.model.empty() && !entry.asked_model.empty()) {
      line += ", model " + Printable(entry.asked_model);
    }
    line += ": " + Printable(entry.error_message);
  }
  if (entry.queued_us) {
    line += fmt::format(", queued after {:.1f} ms", Millis(entry.received_us, *entry.queued_us));
  }
  if (entry.first_token_us) {
    line +=
        fmt::format(", first after {:.1f} ms", Millis(entry.received_us, *entry.first_token_us));
  }
  return line + ", id " + entry.request_id;
}

std::string AccessJson(const JournalEntry& entry) {
  std::string out;
  const auto add_text = [&](std::string_view name, std::string_view value) {
    if (!out.empty()) out += ',';
    api::openai::AppendJsonString(out, name);
    out += ':';
    api::openai::AppendJsonString(out, value);
  };
  add_text("request_id", entry.request_id);
  add_text("remote", entry.remote_address);
  add_text("method", entry.method);
  add_text("path", entry.path);
  out += fmt::format(R"(,"status":{},"total_ms":{:.3f})", entry.status,
                     Millis(entry.received_us, entry.ended_us));
  if (!entry.adapter.empty()) add_text("adapter", entry.adapter);
  if (!entry.model.empty()) {
    add_text("model", entry.model);
    out += fmt::format(R"(,"prompt_tokens":{},"completion_tokens":{})", entry.prompt_tokens,
                       entry.completion_tokens);
  }
  if (!entry.error_message.empty()) {
    add_text("error_code", entry.error_code);
    if (!entry.error_param.empty()) add_text("error_param", entry.error_param);
    add_text("error_message", entry.error_message);
    if (entry.model.empty() && !entry.asked_model.empty()) add_text("model", entry.asked_model);
  }
  if (entry.queued_us) {
    out += fmt::format(R"(,"queued_ms":{:.3f})", Millis(entry.received_us, *entry.queued_us));
  }
  if (entry.first_token_us) {
    out += fmt::format(R"(,"ttft_ms":{:.3f})", Millis(entry.received_us, *entry.first_token_us));
  }
  return out;
}

}  // namespace lorry::server
