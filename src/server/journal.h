// What is written down of each HTTP request when it ends: a line of the access log, and counters.
// Owns: handles into the registry. Thread: any.
#pragma once

#include <prometheus/counter.h>
#include <prometheus/family.h>
#include <prometheus/histogram.h>
#include <prometheus/registry.h>

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "base/clock.h"
#include "server/following_counter.h"

namespace lorry::server {

struct JournalEntry {
  std::string request_id;
  std::string method;
  std::string path;
  std::string_view route;  // its pattern, so that metrics have few series; "" if none fits
  std::string remote_address;
  int status = 0;  // 499: the client went away before the end
  Micros received_us = 0;
  Micros ended_us = 0;
  // Of requests that were refused, or failed.
  std::string error_code;     // "model_not_found", or the kind of error
  std::string error_param;    // "": none
  std::string error_message;  // its beginning; "": it was not refused
  std::string asked_model;    // as the request says
  std::string adapter;        // of a call that manages it; "": none
  // Of requests that generate.
  std::string model;                // the name as it was resolved; "": none
  std::optional<Micros> queued_us;  // when the engine had it in its queue
  std::optional<Micros> first_token_us;
  int64_t prompt_tokens = 0;
  int64_t completion_tokens = 0;
};

class Journal {
 public:
  Journal(prometheus::Registry& registry, bool access_log);

  void Write(const JournalEntry& entry);

  // Before the registry is read.
  void Update();

 private:
  prometheus::Family<prometheus::Counter>& requests_;
  prometheus::Family<prometheus::Histogram>& seconds_;
  prometheus::Histogram& queued_seconds_;
  FollowingCounter dropped_lines_;
  const bool access_log_;
};

// One line for people, and the members of a JSON object for machines.
std::string AccessText(const JournalEntry& entry);
std::string AccessJson(const JournalEntry& entry);

}  // namespace lorry::server
