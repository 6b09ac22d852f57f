#include "server/server.h"

#include <prometheus/text_serializer.h>

#include "api/error_map.h"
#include "base/log.h"
#include "request/want_adapters.h"
#include "server/choose_model.h"
#include "server/sandbox_metrics.h"

namespace lorry::server {
namespace {

namespace openai = api::openai;

constexpr int kMaxAdminConnections = 64;
constexpr size_t kMaxAdminBodyBytes = 1 << 20;

bool IsLoopback(std::string_view host) {
  return host == "localhost" || host == "::1" || host.starts_with("127.");
}

openai::ParseLimits MakeLimits(const ServerOptions& options, int max_model_len) {
  openai::ParseLimits limits;
  limits.json.max_bytes = options.http.max_body_bytes;
  // A context of token ids, and a few of small ones at once.
  limits.json.max_values = std::max(limits.json.max_values, 4 * static_cast<size_t>(max_model_len));
  limits.max_logprobs = options.max_logprobs;
  limits.default_sampling = options.default_sampling;
  return limits;
}

// What the HTTP server refuses by itself, in OpenAI's shape.
net::HttpResponse RefusedByHttp(int status, std::string_view message) {
  const ErrorCode code = status == 413   ? ErrorCode::kTooLarge
                         : status == 503 ? ErrorCode::kUnavailable
                         : status == 500 ? ErrorCode::kInternal
                                         : ErrorCode::kInvalidArgument;
  net::HttpResponse response = ErrorResponse({code, std::string(message), ""});
  response.status = status;
  return response;
}

net::HttpResponse NoRoute(const RouteMatch& match, const net::HttpRequest& request) {
  net::HttpResponse response;
  response.status = 204;
  if (match.status != 204) {
    const bool is_unknown = match.status == 404;
    response = ErrorResponse({is_unknown ? ErrorCode::kNotFound : ErrorCode::kInvalidArgument,
                              is_unknown ? fmt::format("There is nothing at {}.", request.path)
                                         : fmt::format("{} does not take {}; it takes {}.",
                                                       request.path, request.method, match.allow),
                              ""});
    response.status = match.status;
  }
  if (!match.allow.empty()) response.headers.Add("Allow", match.allow);
  return response;
}

}  // namespace

Server::Server(ServerOptions options, AdapterService& adapters,
               std::shared_ptr<const text::ModelText> text, Generator& generator,
               prometheus::Registry& registry)
    : options_(std::move(options)),
      adapters_(adapters),
      sandbox_(text::TextSandbox::Create(options_.sandbox)),
      texts_(std::move(text), *sandbox_, options_.max_adapter_text_bytes),
      planner_(adapters.directory()->max_model_len()),
      limits_(MakeLimits(options_, adapters.directory()->max_model_len())),
      auth_(options_.api_keys),
      admin_access_(options_.admin, auth_),
      registry_(registry),
      journal_(registry, options_.access_log),
      session_context_{generator, session_thread_.mailbox(), large_answer_thread_.mailbox()},
      text_threads_({.num_threads = options_.num_text_threads,
                     .max_pending = options_.max_pending_requests,
                     .max_pending_bytes = options_.max_pending_bytes},
                    [this](TextTask task) { DoTextWork(std::move(task)); }),
      admin_(adapters),
      http_(
          options_.http,
          [this](net::HttpRequest request, std::shared_ptr<net::ResponseWriter> writer) {
            Handle(std::move(request), std::move(writer), Listener::kClients);
          },
          RefusedByHttp) {}

Server::~Server() { Stop(); }

Result<int> Server::Start() {
  session_thread_.Start();
  large_answer_thread_.Start();
  text_threads_.Start();
  admin_.Start();
  RETURN_IF_ERROR(StartAdmin());
  ASSIGN_OR_RETURN(const int port, http_.Start());
  is_ready_ = true;
  return port;
}

Status Server::StartAdmin() {
  const AdminOptions& admin = options_.admin;
  if (admin.port < 0) return {};
  if (admin.key.empty() && !IsLoopback(admin.host)) {
    return Fail(
        ErrorCode::kInvalidArgument,
        fmt::format("--admin-host {}: others can reach it, so --admin-key is needed", admin.host),
        "admin-host");
  }
  net::HttpServerOptions http = options_.http;
  http.host = admin.host;
  http.port = admin.port;
  http.num_io_threads = 1;
  http.max_connections = kMaxAdminConnections;
  http.max_body_bytes = kMaxAdminBodyBytes;
  admin_http_.emplace(
      http,
      [this](net::HttpRequest request, std::shared_ptr<net::ResponseWriter> writer) {
        Handle(std::move(request), std::move(writer), Listener::kAdmin);
      },
      RefusedByHttp);
  ASSIGN_OR_RETURN(admin_port_, admin_http_->Start());
  log::Info("adapters are managed on {} port {}", admin.host, admin_port_);
  return {};
}

bool Server::Drain(Micros limit_us) {
  is_ready_ = false;
  sandbox_->HurryUp();
  return http_.Drain(std::chrono::milliseconds(limit_us / 1000));
}

void Server::Stop() {
  is_ready_ = false;
  if (admin_http_) admin_http_->Stop();
  http_.Stop();  // hang-ups reach the session thread, which cancels
  admin_.Stop();
  sandbox_->Stop();
  text_threads_.Stop();
  session_thread_.Stop();
  large_answer_thread_.Stop();
}

void Server::Handle(net::HttpRequest request, std::shared_ptr<net::ResponseWriter> writer,
                    Listener listener) {
  auto exchange = std::make_unique<Exchange>(request, std::move(writer), journal_, *options_.clock);
  const RouteMatch match = FindRoute(request.method, request.path);
  if (match.route == nullptr) {
    exchange->Send(NoRoute(match, request));
    return;
  }
  exchange->entry().route = match.route->path;
  if (const Status status = CheckAccess(*match.route, request.headers, listener); !status) {
    exchange->SendError(status.error());
    return;
  }
  Answer(match, std::move(request), std::move(exchange));
}

Status Server::CheckAccess(const Route& route, const net::HttpHeaders& headers,
                           Listener listener) const {
  switch (route.access) {
    case Access::kOpen:
      return {};
    case Access::kClient:
      if (listener == Listener::kClients) return auth_.Check(headers);
      return Fail(ErrorCode::kNotFound, "This listener is for managing adapters.");
    case Access::kAdmin:
      return admin_access_.Check(route.endpoint, headers, listener);
  }
  return Fail(ErrorCode::kInternal, "A route without a door.");
}

void Server::Answer(const RouteMatch& match, net::HttpRequest request,
                    std::unique_ptr<Exchange> exchange) {
  switch (match.route->endpoint) {
    case Endpoint::kHealth:
      exchange->SendJson(R"({"status":"ok"})");
      return;
    case Endpoint::kReady:
      if (is_ready_) {
        exchange->SendJson(R"({"status":"ready"})");
      } else {
        exchange->SendError({ErrorCode::kUnavailable, "The server is shutting down.", ""});
      }
      return;
    case Endpoint::kVersion:
      exchange->SendJson(openai::FormatVersion(options_.version));
      return;
    case Endpoint::kMetrics:
      exchange->Send(MetricsResponse());
      return;
    case Endpoint::kModels:
      exchange->SendJson(openai::FormatModels(*adapters_.directory()));
      return;
    case Endpoint::kModel: {
      Result<std::string> card = openai::FormatModel(*adapters_.directory(), match.rest);
      if (card) {
        exchange->SendJson(std::move(*card));
      } else {
        exchange->SendError(card.error());
      }
      return;
    }
    case Endpoint::kCompletions:
    case Endpoint::kChatCompletions:
    case Endpoint::kTokenize:
    case Endpoint::kDetokenize:
      break;
    default:  // of adapter management
      break;
  }
  if (!is_ready_) {
    exchange->SendError({ErrorCode::kUnavailable, "The server is shutting down.", ""});
    return;
  }
  if (match.route->access == Access::kAdmin) {
    return admin_.Handle(*match.route, std::move(request), std::move(exchange));
  }
  TextTask task = {match.route->endpoint, std::move(request.body), std::move(exchange)};
  if (const Status sent = text_threads_.TrySend(std::move(task)); !sent) {
    task.exchange->SendError(sent.error());
  }
}

net::HttpResponse Server::MetricsResponse() const {
  std::vector<prometheus::MetricFamily> families = registry_.Collect();
  AppendSandboxMetrics(sandbox_->stats(), families);
  return {.status = 200,
          .headers = {{"Content-Type", "text/plain; version=0.0.4; charset=utf-8"}},
          .body = prometheus::TextSerializer().Serialize(families)};
}

void Server::DoTextWork(TextTask task) {
  Exchange& exchange = *task.exchange;
  if (exchange.writer()->closed()) return exchange.Abandon();
  const auto launch = [&](Result<GenerationPlan> plan) {
    if (!plan) return exchange.SendError(plan.error());
    plan->waiting = std::move(task.waiting);
    Launch(std::move(*plan), std::move(task.exchange));
  };
  const auto send = [&](Result<std::string> body) {
    if (!body) return exchange.SendError(body.error());
    exchange.SendJson(std::move(*body));
  };
  // Calls work(request, target) if the body could be read and its model is at hand.
  const auto with_model = [&](auto request, const auto& work) {
    if (!request) return exchange.SendError(request.error());
    std::optional<Target> target = FindModel(*request, task);
    if (target) work(std::move(*request), std::move(*target));
  };
  switch (task.endpoint) {
    case Endpoint::kCompletions:
      return with_model(openai::ParseCompletion(task.body, limits_), [&](auto request, Target to) {
        const auto is_wanted = [&] {
          return !text_threads_.stopping() && !exchange.writer()->closed();
        };
        launch(planner_.PlanCompletion(std::move(request), std::move(to.model), std::move(to.text),
                                       is_wanted));
      });
    case Endpoint::kChatCompletions:
      return with_model(openai::ParseChat(task.body, limits_), [&](auto request, Target to) {
        launch(planner_.PlanChat(std::move(request), std::move(to.model), std::move(to.text)));
      });
    case Endpoint::kTokenize:
      return with_model(
          openai::ParseTokenize(task.body, limits_),
          [&](const auto& request, const Target& to) { send(Tokenize(request, *to.text)); });
    case Endpoint::kDetokenize:
      return with_model(
          openai::ParseDetokenize(task.body, limits_), [&](const auto& request, const Target& to) {
            send(planner_.Detokenize(request, to.model, *to.text).map(openai::FormatDetokenize));
          });
    default:
      return exchange.SendError({ErrorCode::kInternal, "This is no text work.", ""});
  }
}

std::optional<Server::Target> Server::FindModel(const openai::ModelRequest& request,
                                                TextTask& task) {
  Result<ModelChoice> choice = ChooseModel(request, adapters_);
  if (!choice) {
    task.exchange->SendError(choice.error());
    return std::nullopt;
  }
  if (choice->is_adapter() && task.adapters.empty()) {
    Park(std::move(choice->adapters), std::move(task));
    return std::nullopt;
  }
  choice->adapters = std::move(task.adapters);
  Result<TextCache::Text> text = texts_.Find(choice->adapters);
  if (!text) {
    task.exchange->SendError(text.error());
    return std::nullopt;
  }
  return Target{std::move(*choice), std::move(*text)};
}

// The request waits with its adapters, not on this thread. Its body is parsed again afterwards:
// that is cheap, and most adapters are there at once.
void Server::Park(std::vector<AdapterTerm> adapters, TextTask task) {
  if (const Status held = text_threads_.HoldElsewhere(task); !held) {
    return task.exchange->SendError(held.error());
  }
  const auto request = std::make_shared<WaitingRequest>();
  task.exchange->writer()->OnClosed([gone = request->gone]() mutable { gone.request_stop(); });
  task.waiting = request;
  const auto parked = std::make_shared<TextTask>(std::move(task));
  WantAdapters(adapters_, std::move(adapters), request, [this, parked](auto at_hand) {
    if (parked->exchange->writer()->closed()) return parked->exchange->Abandon();
    if (!at_hand) return parked->exchange->SendError(at_hand.error());
    parked->adapters = std::move(*at_hand);
    if (const Status sent = text_threads_.TrySend(std::move(*parked)); !sent) {
      parked->exchange->SendError(sent.error());
    }
  });
}

void Server::Launch(GenerationPlan plan, std::unique_ptr<Exchange> exchange) {
  const RequestId first_id = {next_request_id_.fetch_add(plan.requests.size())};
  Session::Create(session_context_, std::move(plan), std::move(exchange), first_id)->Launch();
}

Result<std::string> Server::Tokenize(const openai::TokenizeRequest& request,
                                     const text::ModelText& text) const {
  ASSIGN_OR_RETURN(const std::vector<TokenId> tokens, planner_.Tokenize(request, text));
  std::vector<std::string> strings;
  if (request.return_token_strings) {
    for (const TokenId token : tokens) strings.emplace_back(text.tokenizer.TokenBytes(token));
  }
  return openai::FormatTokenize(tokens, adapters_.directory()->max_model_len(),
                                request.return_token_strings ? &strings : nullptr);
}

}  // namespace lorry::server
