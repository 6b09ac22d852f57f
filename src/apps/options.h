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

// Of the commands around adapters: pull, ls, rm, pin, inspect, top.
struct AdapterCommandOptions {
  std::string base;   // a model directory
  std::string token;  // for sources
  std::string url;    // of a running server; empty: the cache of this machine
  bool json = false;
  bool unpin = false;
  bool once = false;
  Micros interval_us = 1'000'000;
};

struct Options {
  StackOptions stack;
  ServeOptions serve;
  RunOptions run;
  AdapterCommandOptions adapter;
  log::Options log;
  std::string config_file;
};

// Adds every option of every command; `options` must outlive the registry.
void RegisterOptions(config::Registry& registry, Options* options);

}  // namespace lorry::apps
