// lorry serve: loads the stack, serves it over HTTP until SIGTERM or Ctrl-C, lets running answers
// finish, ends with 0.
#include <fmt/core.h>
#include <malloc.h>
#include <semaphore.h>
#include <signal.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <optional>

#include "apps/commands.h"
#include "apps/complain.h"
#include "apps/demo_table.h"
#include "apps/environment.h"
#include "apps/exposure.h"
#include "base/log.h"
#include "config/value.h"
#include "net/http_server.h"
#include "server/admission.h"
#include "server/descriptor_shares.h"
#include "server/exchange.h"
#include "server/listener_options.h"
#include "server/server.h"

namespace lorry::apps {
namespace {

sem_t g_asked_to_stop;  // a semaphore, since sem_post is all that a signal handler may do

// From here on SIGTERM and Ctrl-C ask to stop; the second of either ends the process at once.
void CatchStopSignals() {
  sem_init(&g_asked_to_stop, 0, 0);
  struct sigaction action = {};
  action.sa_handler = [](int) { sem_post(&g_asked_to_stop); };
  action.sa_flags = SA_RESTART | static_cast<int>(SA_RESETHAND);
  sigaction(SIGTERM, &action, nullptr);
  sigaction(SIGINT, &action, nullptr);
}

void WaitForStopSignal() {
  while (sem_wait(&g_asked_to_stop) != 0) {
  }
}

std::string Url(const std::string& host, int port) {
  const bool is_ipv6 = host.find(':') != std::string::npos;
  return is_ipv6 ? fmt::format("http://[{}]:{}", host, port)
                 : fmt::format("http://{}:{}", host, port);
}

// The C library keeps up to 64 MiB of free memory at the end of each heap, one for each thread that
// ever freed a large piece: it is to keep less. What is larger is mapped, and given back when it is
// freed. What lies between pieces in use stays (server/text_threads.cc).
void BoundFreeMemory() {
  constexpr int kMaxBytes = 16 << 20;
  mallopt(M_TRIM_THRESHOLD, kMaxBytes);
  mallopt(M_MMAP_THRESHOLD, kMaxBytes);
}

// Connections, as many as file descriptors allow; the usual limit of 1,024 is a limit of select(2),
// which is not used here.
Status ShareConnections(int num_fetchers, server::ServerOptions& http) {
  const server::DescriptorNeeds needs = {.max_connections = http.http.max_connections,
                                         .num_fetchers = num_fetchers,
                                         .has_admin = http.admin.port >= 0};
  const rlim_t wanted = server::WantedDescriptors(needs);
  rlimit limit = {};
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0) limit = {wanted, wanted};
  if (limit.rlim_cur < wanted) {
    const rlimit raised = {std::min(wanted, limit.rlim_max), limit.rlim_max};
    if (setrlimit(RLIMIT_NOFILE, &raised) == 0) limit = raised;
  }
  ASSIGN_OR_RETURN(const server::DescriptorShares shares,
                   server::ShareDescriptors(needs, limit.rlim_cur));
  if (limit.rlim_cur < wanted) {
    log::Warning(
        "the system allows {} file descriptors, fewer than the {} that --max-connections {} may "
        "need: at most {} connections, and {} that have not shown a key",
        limit.rlim_cur, wanted, needs.max_connections, shares.clients.max_connections,
        shares.clients.max_newcomers);
  }
  http.http.max_connections = shares.clients.max_connections;
  http.http.max_newcomers = shares.clients.max_newcomers;
  if (!needs.has_admin) return {};
  http.admin.max_connections = shares.admin.max_connections;
  http.admin.max_newcomers = shares.admin.max_newcomers;
  return {};
}

// Holds the port while the model loads, so that a port in use is known at once: alive, but not
// ready.
class LoadingServer {
 public:
  // `hint`: what chooses another address.
  LoadingServer(const net::HttpServerOptions& options, std::string hint)
      : hint_(std::move(hint)),
        server_(
            options,
            [](net::HttpRequest, std::shared_ptr<net::ResponseWriter> writer) {
              writer->Send(server::Exchange::JsonResponse(200, R"({"status":"ok"})"));
            },
            [](const net::HttpRefusal&) { return StillLoading(); },
            [](const net::HttpRequest& head, bool) {
              net::HttpVerdict verdict = {.admits = false, .keeps_body = false};
              if (head.path != "/health") verdict.refusal = StillLoading();
              return verdict;
            }) {}

  Result<int> Start() {
    Result<int> port = server_.Start();
    if (!port) port.error().message += fmt::format(" ({})", hint_);
    return port;
  }

 private:
  static net::HttpResponse StillLoading() {
    return server::ErrorResponse({ErrorCode::kUnavailable, "The model is loading.", ""});
  }

  const std::string hint_;
  net::HttpServer server_;
};

// Both of a server's ports while its model loads. Gone with this, to be taken by the server itself.
class LoadingServers {
 public:
  // Free ports become known in `options`.
  Status Start(server::ServerOptions& options) {
    clients_.emplace(options.http, "--host and --port, or make demo PORT=N");
    ASSIGN_OR_RETURN(options.http.port, clients_->Start());
    if (options.admin.port < 0) return {};
    admins_.emplace(server::ListenerOptions(options, server::Listener::kAdmin),
                    "--admin-host and --admin-port");
    ASSIGN_OR_RETURN(options.admin.port, admins_->Start());
    return {};
  }

 private:
  std::optional<LoadingServer> clients_, admins_;
};

void LogMemory(const MemoryUse& memory) {
  log::WriteTable(
      log::Level::kInfo, MemoryTable(memory),
      fmt::format(
          R"("event":"memory","weight_bytes":{},"pool_bytes":{},"host_bytes":{},"waiting_bytes":{},"scratch_bytes":{},"free_bytes":{})",
          memory.weight_bytes, memory.pool_bytes, memory.host_bytes, memory.waiting_bytes,
          memory.scratch_bytes, memory.free_bytes));
}

// How a person in this directory would call this binary.
std::string OwnPath() {
  std::error_code error;
  const auto binary = std::filesystem::read_symlink("/proc/self/exe", error);
  const std::string shown = std::filesystem::proximate(binary, error);
  return error || shown.starts_with("..") ? binary.string() : shown;
}

Status ShowDemoTable(const Stack& stack, const ServeOptions& options, int port) {
  if (!stack.is_demo) {
    return Fail(ErrorCode::kInvalidArgument, "--demo-table is for the demo: leave MODEL out",
                "demo-table");
  }
  ASSIGN_OR_RETURN(std::vector<DemoPrompt> prompts, FirstPrompts(stack.prompts_file));
  std::erase_if(prompts, [&](const DemoPrompt& prompt) {  // the base's own, and adapters not loaded
    const auto choice = stack.directory()->Resolve(prompt.adapter);
    return !choice || !choice->is_adapter();
  });
  if (prompts.empty()) return {};
  const auto& keys = options.http.api_keys;
  const DemoServer server{options.http.http.host, port, keys.empty() ? "" : keys.front(),
                          stack.directory()->base_names().front()};
  const Micros start_us = Clock::Steady().NowUs();
  const std::vector<DemoRow> rows = AskAll(server, prompts);
  const double seconds = SecondsBetween(start_us, Clock::Steady().NowUs());
  fmt::print(
      "\n{}\n{} requests at once, the base and {} adapters in the same steps, {:.2f} "
      "s\n\n{}\nCtrl-C ends the server.\n",
      RenderTable(rows, 100), 2 * rows.size(), stack.engine->stats().max_adapters_in_step, seconds,
      NextSteps(server, prompts.front(), OwnPath()));
  std::fflush(stdout);
  return {};
}

// Where a request says nothing: OpenAI's defaults, overruled by what the model's author wrote down.
SamplingParams DefaultSampling(const formats::GenerationConfig& generation) {
  SamplingParams params;
  if (generation.do_sample == false) {
    params.temperature = 0;
  } else {
    params.temperature = static_cast<float>(generation.temperature.value_or(params.temperature));
    params.top_k = static_cast<int>(generation.top_k.value_or(params.top_k));
    params.top_p = static_cast<float>(generation.top_p.value_or(params.top_p));
    params.min_p = static_cast<float>(generation.min_p.value_or(params.min_p));
  }
  params.repetition_penalty =
      static_cast<float>(generation.repetition_penalty.value_or(params.repetition_penalty));
  return params;
}

Status ServeUntilStopped(const Options& options) {
  const Micros start_us = Clock::Steady().NowUs();
  signal(SIGPIPE, SIG_IGN);
  signal(SIGXFSZ, SIG_IGN);  // a file over the limit is an error of whoever writes it
  server::ServerOptions http = options.serve.http;
  RETURN_IF_ERROR(ShareConnections(options.stack.adapter_fetchers, http));
  http.version = LORRY_VERSION;
  http.sandbox = AdapterTextLimits();
  http.max_sequences = options.stack.engine.max_sequences();

  RETURN_IF_ERROR(server::Admission::CheckOptions(http));
  for (const std::string& warning : ExposureWarnings(http)) log::Warning("{}", warning);
  auto loading = std::make_unique<LoadingServers>();
  RETURN_IF_ERROR(loading->Start(http));
  ASSIGN_OR_RETURN(const std::unique_ptr<Stack> stack, Stack::Build(options.stack));
  LogMemory(stack->memory);
  loading.reset();
  http.default_sampling = DefaultSampling(stack->generation);

  server::Server server(http, *stack->catalogue, stack->text, *stack->engine, stack->metrics);
  ASSIGN_OR_RETURN(const int port, server.Start());
  CatchStopSignals();
  log::Info("ready on {} after {:.2f} s: {}, adapters: {}", Url(http.http.host, port),
            SecondsBetween(start_us, Clock::Steady().NowUs()),
            stack->directory()->base_names().front(), stack->directory()->adapters().size());
  log::Flush();
  if (options.serve.demo_table) RETURN_IF_ERROR(ShowDemoTable(*stack, options.serve, port));

  WaitForStopSignal();
  log::Info("stopping: running answers have {} to finish",
            config::ShowDuration(std::chrono::microseconds(options.serve.drain_timeout).count()));
  const bool drained = server.Drain(std::chrono::microseconds(options.serve.drain_timeout).count());
  if (!drained) log::Warning("some answers were cut off: they took longer than --drain-timeout");
  server.Stop();
  stack->watch.reset();
  stack->catalogue->Stop();
  stack->engine->Stop(std::chrono::milliseconds(0));
  log::Info("stopped");
  return {};
}

}  // namespace

int Serve(const Options& options) {
  BoundFreeMemory();
  const Status status = ServeUntilStopped(options);
  return status ? 0 : Complain("serve", status.error().message);
}

}  // namespace lorry::apps
