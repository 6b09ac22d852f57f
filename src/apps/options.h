// The registry's contents: which field of which options struct each option fills, and how it is
// explained. Owns: the options structs of the commands. Thread: one.
#pragma once

#include <chrono>
#include <string>

#include "apps/answer.h"
#include "apps/stack.h"
#include "base/log.h"
#include "config/option.h"
#include "server/server_options.h"

namespace lorry::apps {

struct ServeOptions {
  ServeOptions() { http.http.port = 8000; }

  server::ServerOptions http;
  std::chrono::milliseconds drain_timeout{30'000};
  bool demo_table = false;
};

struct RunOptions {
  std::string system;  // a system message; empty: none
  SamplingChoice sampling;
};

struct InspectOptions {
  std::string base;
  bool json = false;
};

struct Options {
  StackOptions stack;
  ServeOptions serve;
  RunOptions run;
  InspectOptions inspect;
  log::Options log;
  std::string config_file;
};

// Adds every option of every command; `options` must outlive the registry.
void RegisterOptions(config::Registry& registry, Options* options);

}  // namespace lorry::apps
