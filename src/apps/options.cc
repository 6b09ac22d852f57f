#include "apps/options.h"

#include "config/value.h"

namespace lorry::apps {
namespace {

constexpr int kMaxInt = std::numeric_limits<int>::max();

const std::vector<std::string> kServing = {"serve"};
const std::vector<std::string> kLoading = {"serve", "run"};
const std::vector<std::string> kComputing = {"serve", "run", "inspect", "version"};
const std::vector<std::string> kAll = {"serve", "run", "inspect", "version", "pull",
                                       "ls",    "rm",  "pin",     "top"};
// Of commands that look after adapters without serving them.
const std::vector<std::string> kFetching = {"serve", "run", "pull", "inspect"};
const std::vector<std::string> kMakingImages = {"serve", "run", "pull"};
const std::vector<std::string> kCaching = {"serve", "run", "pull", "inspect", "ls", "rm", "pin"};
const std::vector<std::string> kManaging = {"serve", "ls", "rm", "pin", "top"};

// Nothing is computed in float16, so its names are no names for bfloat16: it has other bits.
Status ChooseDType(const std::string& text, StackOptions* stack) {
  const std::string wanted = text == "float" ? "float32" : text;
  if (wanted == "half" || wanted == "float16") {
    return Fail(ErrorCode::kInvalidArgument,
                fmt::format("'{}': nothing is computed in float16; bfloat16 takes as much memory, "
                            "and auto takes it for a checkpoint in float16",
                            text));
  }
  if (wanted != "auto" && wanted != "bfloat16" && wanted != "float32") {
    return Fail(ErrorCode::kInvalidArgument,
                fmt::format("'{}' is not one of auto, bfloat16, float32", text));
  }
  stack->dtype = wanted;
  return {};
}

void RegisterModel(config::Registry& registry, StackOptions* stack) {
  registry.Group("Model", kLoading);
  registry.Text({.name = "model",
                 .value_name = "DIR",
                 .help = "Hugging Face model directory; the same as the word MODEL.",
                 .when = "Name it in a configuration file; without a model the demo is served.",
                 .default_text = "the demo",
                 .guards = true},
                &stack->model);
  registry.Integer({.name = "max-model-len",
                    .help = "Longest sequence in tokens, prompt and answer together.",
                    .when = "Lower it to hold more sequences in the same memory.",
                    .default_text = "the model's context length"},
                   &stack->engine.max_model_len, 1, kMaxInt);
  registry.Text({.name = "chat-template",
                 .value_name = "FILE",
                 .help = "A Jinja chat template in place of the model's own.",
                 .when = "For a base model without one, or to correct one.",
                 .default_text = "the model's own",
                 .guards = true},
                &stack->chat_template);
  registry.Group("Model", kMakingImages);
  registry.Custom(
      {.name = "dtype",
       .value_name = "auto|bfloat16|float32",
       .help = "Type of weights, activations and KV cache; auto follows the checkpoint, "
               "float16 becomes bfloat16. vLLM's word float is float32; half and float16 are "
               "refused.",
       .when = "float32 is twice the bytes and closest to a reference. `lorry pull` needs the "
               "one of the server that it prepares for."},
      {}, stack->dtype, [stack](const std::string& text) { return ChooseDType(text, stack); });
}

void RegisterAdapters(config::Registry& registry, StackOptions* stack) {
  registry.Group("Adapters", kLoading);
  registry.List(
      {.name = "adapter",
       .value_name = "NAME=SOURCE",
       .help = "An adapter and the name that requests use for it: a PEFT directory, hf://org/name, "
               "s3://, gs://, az://, https:// or an archive; a directory may go without a name. "
               "For `lorry run` the first one answers."},
      &stack->adapters);
  registry.List({.name = "lora-modules",
                 .value_name = "NAME=DIR|JSON",
                 .help = "vLLM's form of --adapter: name=path, or {\"name\": ..., \"path\": ...}."},
                &stack->lora_modules, config::Arity::kGreedy);
  registry.Switch(
      {.name = "enable-lora",
       .help = "vLLM's switch; adapters are always enabled, --no-enable-lora refuses them."},
      &stack->enable_lora);
  registry.Switch(
      {.name = "skip-bad-adapters",
       .help =
           "An adapter that does not fit is left out with a warning, and does not end the start.",
       .when = "When one broken adapter must not keep the others down."},
      &stack->skip_bad_adapters);
  registry.Group("Adapters", kMakingImages);
  registry.Integer({.name = "max-lora-rank",
                    .help = "Adapters of a higher rank are refused.",
                    .when = "A limit only: an adapter costs what its own rank costs."},
                   &stack->max_lora_rank, 1, 512);
}

void RegisterAdapterTiers(config::Registry& registry, StackOptions* stack) {
  registry.Group("Adapter tiers", kLoading);
  registry.List({.name = "adapter-dir",
                 .value_name = "DIR",
                 .help = "A directory that is watched: each directory below it that holds an "
                         "adapter, three deep at most, is served while it is there, under the "
                         "name of its path (`run/step/adapter`)."},
                &stack->adapter_dirs);
  registry.Bytes({.name = "adapter-host-bytes",
                  .help = "Of adapters that are kept in memory beside the page pool.",
                  .when = "Raise it when more adapters take turns than the pool holds."},
                 &stack->adapter_host_bytes);
  registry.Integer(
      {.name = "adapter-fetchers", .help = "Sources elsewhere that are waited for at once."},
      &stack->adapter_fetchers, 1, 256);
  registry.Integer({.name = "adapter-loaders",
                    .help = "Adapters that are checked and packed at once, at low priority."},
                   &stack->adapter_loaders, 1, 64);
  registry.Bytes(
      {.name = "adapter-ready-bytes",
       .help = "Memory that is touched at start for adapters to come, and kept when they "
               "leave.",
       .when = "Raise it where many arrive at once on a virtual machine: fresh memory is "
               "slow there."},
      &stack->adapter_ready_bytes);
  registry.Integer({.name = "max-adapter-waiting",
                    .help = "Requests that may wait for one adapter's weights; beyond, 429."},
                   &stack->max_adapter_waiting, 1, 1 << 20);
  registry.Bytes({.name = "adapter-waiting-bytes",
                  .help = "Of adapters that requests hold which do not run yet; one larger passes "
                          "alone, others wait their turn.",
                  .when = "Raise it when large adapters keep batches from filling."},
                 &stack->adapter_waiting_bytes);
  registry.Duration({.name = "adapter-timeout",
                     .help = "A request waits for its adapter's weights for so long, then 503."},
                    &stack->adapter_timeout_us);
  registry.Bytes({.name = "adapter-floor-bytes",
                  .help = "Of the page pool, kept for adapters however much KV cache is wanted."},
                 &stack->engine.adapter_floor_bytes);
}

void RegisterAdapterSources(config::Registry& registry, StackOptions* stack) {
  registry.Group("Adapter cache and sources", kCaching);
  registry.Text({.name = "adapter-cache",
                 .value_name = "DIR",
                 .help = "Where adapters are kept ready to copy, and what was registered is "
                         "remembered; \"none\" keeps nothing.",
                 .default_text = "~/.cache/lorry"},
                &stack->adapter_cache);
  registry.Group("Adapter cache and sources", kMakingImages);
  registry.Bytes({.name = "adapter-cache-bytes",
                  .help = "Of adapters ready to copy there; the least valuable ones leave.",
                  .when = "Lower it where the disk is small."},
                 &stack->adapter_cache_bytes);
  registry.Group("Adapter cache and sources", kFetching);
  registry.List(
      {.name = "allow-private-host",
       .value_name = "HOST|BLOCK",
       .help = "A private address that an adapter's URL may lead to: a host, host:port or "
               "10.1.0.0/16; all others are refused."},
      &stack->allow_private_hosts);
  registry.Group("Adapter cache and sources", kLoading);
  registry.List(
      {.name = "allow-request-source",
       .value_name = "PATTERN",
       .help = "Sources that a request may name itself, as in hf://myorg/* or /srv/adapters/*; all "
               "others are refused. A star stands for one part, at the end for all that follows.",
       .when = "Clients bring adapters of their own, with LoRAX's adapter_id for instance."},
      &stack->allow_request_sources);
}

void RegisterEngine(config::Registry& registry, StackOptions* stack) {
  registry.Group("Engine", kLoading);
  registry.Bytes(
      {.name = "kv-memory",
       .help = "Memory of the page pool, which the KV cache and the adapters share.",
       .when = "Set it when other processes need the memory; more holds more sequences at once.",
       .default_text = "half of what is free, at most what all sequences need"},
      &stack->kv_memory_bytes);
  registry.Integer({.name = "max-num-seqs",
                    .help = "Sequences that run at once; the others wait for their turns. An "
                            "eighth is for requests of which none runs.",
                    .when = "Lower it to bound the time between two tokens of a sequence."},
                   &stack->engine.max_num_seqs, 1, 65536);
  registry.Integer(
      {.name = "max-num-batched-tokens",
       .help = "Token budget of a step: decoding sequences first, then chunks of prompts.",
       .when = "More takes prompts faster, less keeps the beat of running answers steady."},
      &stack->engine.max_num_batched_tokens, 1, 1 << 20);
  registry.Integer({.name = "max-prompt-chunk",
                    .help = "Tokens of one prompt in a step; 0: the whole budget.",
                    .when = "Lower it so that one long prompt leaves room for others."},
                   &stack->engine.max_prompt_chunk, 0, 1 << 20);
  registry.Integer({.name = "max-waiting",
                    .help = "Sequences that may wait; beyond, requests get 429 with Retry-After. "
                            "One request may bring half of them; beyond, 400.",
                    .when = "Lower it to refuse early rather than answer late."},
                   &stack->engine.max_waiting, 1, kMaxInt);
  registry.Integer(
      {.name = "max-reserved-output-tokens",
       .help = "Admission counts on at most so many further tokens of each sequence.",
       .when = "Lower: more sequences at once, more of them preempted and computed again."},
      &stack->engine.max_reserved_output_tokens, 1, kMaxInt);
  registry.Text({.name = "step-log",
                 .value_name = "FILE",
                 .help = "A line of CSV for each step: its rows, adapters and times.",
                 .when = "To measure, or to see what a slow moment was made of."},
                &stack->step_log);
  registry.Integer({.name = "page-size",
                    .help = "Tokens of a KV page, a multiple of 16.",
                    .when = "Larger pages: fewer of them to keep account of, more waste at the end "
                            "of each sequence."},
                   &stack->engine.page_tokens, 16, 4096);
  registry.Integer({.name = "threads",
                    .help = "Compute threads.",
                    .when = "Lower it to leave cores to others.",
                    .default_text = "the cores that the process may use"},
                   &stack->threads, 1, 1024);
  registry.Group("Processor", kComputing);
  registry.Choice(
      {.name = "cpu",
       .help = "Instruction set of the kernels; auto takes the best that the processor has.",
       .when = "To compare, or to get the same bits on different machines."},
      &stack->cpu, {"auto", "portable", "avx2", "avx512bf16", "ref"});
}

void RegisterServerLimits(config::Registry& registry, server::ServerOptions& server) {
  registry.Group("Server limits", kServing);
  registry.Integer(
      {.name = "max-connections",
       .help = "Connections at once that have sent a request which was let in; beyond, 503. As "
               "many again that have not make room for each other, the oldest first. Fewer of "
               "both where the system does not allow that many file descriptors.",
       .when = "Raise it, and ulimit -n, for more clients."},
      &server.http.max_connections, 1, 1 << 20);
  registry.Bytes({.name = "max-body", .help = "Longest request body; beyond, 413."},
                 &server.http.max_body_bytes);
  registry.Bytes({.name = "max-header", .help = "Longest request header; beyond, 431."},
                 &server.http.max_header_bytes);
  registry.Duration({.name = "idle-timeout", .help = "A connection without a request is closed."},
                    &server.http.idle_timeout);
  registry.Integer(
      {.name = "max-pending-requests",
       .help = "Requests that may wait to be tokenised, short and long ones each; beyond, 429 with "
               "Retry-After."},
      &server.max_pending_requests, 1, 1 << 20);
  registry.Bytes(
      {.name = "max-pending-bytes",
       .help = "Bodies of requests, together, until they are tokenised. One half is for those "
               "still arriving, an eighth of it at the admin listener if there is one: beyond, "
               "the oldest gets a 503. A quarter each is for those above 32 KiB that wait to be "
               "tokenised and that wait for adapters or an adapter's own tokenizer: beyond, 429 "
               "with Retry-After. Shorter ones that wait do not count "
               "(--max-pending-requests).",
       .when = "Lower it where memory is short."},
      &server.max_pending_bytes);
  registry.Bytes({.name = "adapter-text-bytes",
                  .help = "Files of adapters' own tokenizers and chat templates that are kept "
                          "parsed; parsed they take several times as much.",
                  .when = "Raise it when many adapters with tokenizers of their own take turns."},
                 &server.max_adapter_text_bytes);
  registry.Integer(
      {.name = "max-logprobs", .help = "Most alternatives that a request may ask for."},
      &server.max_logprobs, 0, 1 << 16);
  registry.Integer({.name = "io-threads",
                    .help = "Threads that move bytes between sockets.",
                    .when = "More for thousands of streams at once."},
                   &server.http.num_io_threads, 1, 256);
  registry.Integer({.name = "text-threads",
                    .help = "Threads that parse, apply templates and tokenise, and as many again "
                            "for long texts, which keep short ones waiting for nothing.",
                    .when = "More when prompts are long and many."},
                   &server.num_text_threads, 1, 256);
  registry.Switch({.name = "access-log", .help = "A line of the log for each request."},
                  &server.access_log);
}

void RegisterServer(config::Registry& registry, ServeOptions* serve, StackOptions* stack) {
  server::ServerOptions& server = serve->http;
  registry.Group("Server", kServing);
  registry.Text({.name = "host",
                 .value_name = "ADDRESS",
                 .help = "Address to listen on; 0.0.0.0 for all.",
                 .when = "Before you open it to others, set --api-key.",
                 .guards = true},
                &server.http.host);
  registry.Integer({.name = "port", .help = "TCP port; 0 takes a free one and says which."},
                   &server.http.port, 0, 65535);
  registry.Group("Server", {"serve", "top"});
  registry.List({.name = "api-key",
                 .value_name = "KEY",
                 .help = "Requests must carry one of these: Authorization: Bearer KEY. /, /health, "
                         "/ready and /version stay open, and /metrics unless --metrics says "
                         "otherwise; `lorry top` sends it there.",
                 .when = "Give it as LORRY_API_KEY (or vLLM's VLLM_API_KEY) or in the file: other "
                         "users can see flags.",
                 .guards = true},
                &server.api_keys);
  registry.Group("Server", kServing);
  registry.Custom(
      {.name = "metrics",
       .help = "Who may read /metrics: everyone (open), everyone without adapters' names "
               "(nameless), who has an --api-key or the --admin-key (key), or who may manage "
               "adapters, by the --admin-key or on the --admin-port (admin).",
       .when = "Adapters' names can be customers' names.",
       .guards = true},
      {"open", "nameless", "key", "admin"}, "open", [&server](const std::string& text) -> Status {
        using server::MetricsAccess;
        server.metrics = text == "nameless" ? MetricsAccess::kNameless
                         : text == "key"    ? MetricsAccess::kKey
                         : text == "admin"  ? MetricsAccess::kAdmin
                                            : MetricsAccess::kOpen;
        return {};
      });
  registry.List({.name = "served-model-name",
                 .value_name = "NAME",
                 .help = "What requests call the base; the first name is the one shown.",
                 .default_text = "the model directory's name"},
                &stack->served_model_names, config::Arity::kGreedy);
  registry.Duration({.name = "drain-timeout",
                     .help = "After SIGTERM, running answers may take so long to finish.",
                     .when = "Keep it below the time after which your supervisor kills."},
                    &serve->drain_timeout);
  registry.Switch({.name = "demo-table",
                   .help = "With the demo: once ready, ask one question of each task and show the "
                           "answers of base and adapter side by side."},
                  &serve->demo_table);
  RegisterServerLimits(registry, server);
}

void RegisterAdmin(config::Registry& registry, server::AdminOptions* admin) {
  registry.Group("Managing adapters while the server runs", kManaging);
  registry.Text({.name = "admin-key",
                 .value_name = "KEY",
                 .help = "Opens the routes that manage adapters (docs/adapters_api.md): "
                         "Authorization: Bearer KEY, or X-Api-Key: KEY. An --api-key does not. The "
                         "other commands send it to the server of --url.",
                 .when = "Give it as LORRY_ADMIN_KEY or in the file: other users can see flags.",
                 .default_text = "none: those routes are off",
                 .guards = true},
                &admin->key);
  registry.Group("Managing adapters while the server runs", kServing);
  registry.Integer({.name = "admin-port",
                    .help = "A listener of their own for these routes, open without a key unless "
                            "there is an --admin-key; 0 takes a free one and says which.",
                    .when = "To manage adapters from this machine only.",
                    .default_text = "none"},
                   &admin->port, 0, 65535);
  registry.Text({.name = "admin-host",
                 .value_name = "ADDRESS",
                 .help = "Address of that listener; one that others can reach needs --admin-key.",
                 .guards = true},
                &admin->host);
  registry.Switch(
      {.name = "allow-runtime-lora-updating",
       .help = "Who may generate may also load and unload adapters by vLLM's routes, from any "
               "source; VLLM_ALLOW_RUNTIME_LORA_UPDATING is the same.",
       .when = "Only among people who trust each other: a source may be any directory or URL."},
      &admin->vllm_for_clients);
}

void RegisterRun(config::Registry& registry, RunOptions* run) {
  registry.Group("Answer", {"run"});
  registry.Text({.name = "system", .help = "A system message before the conversation."},
                &run->system);
  registry.Integer({.name = "max-tokens",
                    .help = "Longest answer in tokens.",
                    .default_text = "what the context allows"},
                   &run->sampling.max_tokens, 1, kMaxInt);
  registry.Custom({.name = "temperature",
                   .value_name = "T",
                   .help = "0 takes the most likely token, higher is more varied, up to 2.",
                   .default_text = "the model's"},
                  {}, "", [run](const std::string& text) -> Status {
                    ASSIGN_OR_RETURN(const double value, config::ParseNumber(text));
                    if (!(value >= 0 && value <= 2)) {  // as of requests
                      return Fail(ErrorCode::kInvalidArgument,
                                  fmt::format("{} is not between 0 and 2", value));
                    }
                    run->sampling.temperature = value;
                    return {};
                  });
  registry.Custom({.name = "seed",
                   .value_name = "N",
                   .help = "The same seed gives the same answer.",
                   .default_text = "drawn"},
                  {}, "", [run](const std::string& text) -> Status {
                    ASSIGN_OR_RETURN(run->sampling.seed, config::ParseInteger(text));
                    return {};
                  });
}

void RegisterAdapterCommands(config::Registry& registry, AdapterCommandOptions* adapter) {
  registry.Group("Adapters at hand", {"pull", "inspect"});
  registry.Text({.name = "base",
                 .value_name = "MODEL",
                 .help = "The model directory that the adapter is to fit. `lorry pull` then makes "
                         "it ready to copy, for a server with this model to start from.",
                 .default_text = "pull: the files alone; inspect: the demo's base",
                 .guards = true},
                &adapter->base);
  registry.Text({.name = "source-token",
                 .value_name = "TOKEN",
                 .help = "For the Hub or a URL; it goes to the first host only. HF_TOKEN is enough "
                         "for the Hub.",
                 .when = "Give it as LORRY_SOURCE_TOKEN: other users can see flags.",
                 .default_text = "none"},
                &adapter->token);
  registry.Group("Adapters at hand", {"inspect", "ls"});
  registry.Switch({.name = "json", .help = "Answer in JSON."}, &adapter->json);
  registry.Group("Adapters at hand", {"ls", "rm", "pin"});
  registry.Text({.name = "url",
                 .value_name = "URL",
                 .help = "A running server, http://HOST:PORT, in place of this machine's cache.",
                 .default_text = "none: the cache",
                 .guards = true},
                &adapter->url);
  registry.Group("Adapters at hand", {"pin"});
  registry.Switch({.name = "unpin", .help = "It may leave again."}, &adapter->unpin);
  registry.Group("View", {"top"});
  registry.Switch({.name = "once",
                   .help = "Print one frame without control characters, and end.",
                   .when = "In scripts; it is so wherever the output is no terminal."},
                  &adapter->once);
  registry.Duration({.name = "interval", .help = "Between two looks at the server."},
                    &adapter->interval_us);
}

void RegisterGeneral(config::Registry& registry, Options* options) {
  registry.Group("Log and configuration", kAll);
  registry.Custom({.name = "log-level", .help = "What is worth a line."},
                  {"debug", "info", "warning", "error", "off"},
                  "info for serve and pull, else warning",
                  [options](const std::string& text) -> Status {
                    options->log.level = text == "debug"     ? log::Level::kDebug
                                         : text == "info"    ? log::Level::kInfo
                                         : text == "warning" ? log::Level::kWarning
                                         : text == "error"   ? log::Level::kError
                                                             : log::Level::kOff;
                    return {};
                  });
  registry.Custom({.name = "log-format",
                   .help = "Form of the log on stderr, access lines among it.",
                   .when = "json where a machine reads it."},
                  {"text", "json"}, "text", [options](const std::string& text) -> Status {
                    options->log.format = text == "json" ? log::Format::kJson : log::Format::kText;
                    return {};
                  });
  registry.Text({.name = "config",
                 .value_name = "FILE",
                 .help = "TOML file with options by these names, as in: max-num-seqs = 64.",
                 .guards = true},
                &options->config_file);
}

}  // namespace

void RegisterOptions(config::Registry& registry, Options* options) {
  RegisterModel(registry, &options->stack);
  RegisterAdapters(registry, &options->stack);
  RegisterAdapterTiers(registry, &options->stack);
  RegisterAdapterSources(registry, &options->stack);
  RegisterServer(registry, &options->serve, &options->stack);
  RegisterAdmin(registry, &options->serve.http.admin);
  RegisterEngine(registry, &options->stack);
  RegisterRun(registry, &options->run);
  RegisterAdapterCommands(registry, &options->adapter);
  RegisterGeneral(registry, options);
}

}  // namespace lorry::apps
