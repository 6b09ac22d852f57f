#include "server/server.h"

#include "api/error_map.h"
#include "base/log.h"
#include "request/want_adapters.h"
#include "server/choose_model.h"
#include "server/listener_options.h"

namespace lorry::server {
namespace {

namespace openai = api::openai;

openai::ParseLimits MakeLimits(const ServerOptions& options, int max_model_len) {
  openai::ParseLimits limits;
  limits.json.max_bytes = options.http.max_body_bytes;
  // A context of token ids, and a few of small ones at once.
  limits.json.max_values = std::max(limits.json.max_values, 4 * static_cast<size_t>(max_model_len));
  limits.max_logprobs = options.max_logprobs;
  limits.max_sequences = std::min(limits.max_sequences, options.max_sequences);
  limits.default_sampling = options.default_sampling;
  return limits;
}

Error ShuttingDown() { return {ErrorCode::kUnavailable, "The server is shutting down.", ""}; }

std::string WhatThisIs(std::string_view version, Listener listener) {
  const std::string_view text =
      listener == Listener::kAdmin
          ? R"("description":"Lorry's listener for managing adapters.","paths":["/v1/adapters",)"
            R"("/health","/ready","/version","/metrics"])"
          : R"("description":"A language model and adapters of it, by OpenAI's API.","paths":[)"
            R"("/v1/models","/v1/completions","/v1/chat/completions","/tokenize","/detokenize",)"
            R"("/health","/ready","/version","/metrics"])";
  return fmt::format(R"({{"name":"lorry","version":"{}",{}}})", version, text);
}

constexpr size_t kMaxModelBytes = 256;

std::string AskedModel(const openai::ModelRequest& request) {
  const std::string& asked = request.model.empty() ? request.adapter_id : request.model;
  return asked.substr(0, kMaxModelBytes);
}

// What a body that could not be read says of its model, for the log.
std::string PeekModel(std::string_view body) {
  constexpr std::string_view kKey = "\"model\"", kSpace = " \t\r\n";
  constexpr size_t kMaxSearched = 64 << 10;
  const size_t key = body.substr(0, kMaxSearched).find(kKey);
  if (key == std::string_view::npos) return "";
  const size_t colon = body.find_first_not_of(kSpace, key + kKey.size());
  if (colon == std::string_view::npos || body[colon] != ':') return "";
  const size_t quote = body.find_first_not_of(kSpace, colon + 1);
  if (quote == std::string_view::npos || body[quote] != '"') return "";
  const std::string_view rest = body.substr(quote + 1, kMaxModelBytes);
  return std::string(rest.substr(0, rest.find('"')));
}

}  // namespace

Server::Server(ServerOptions options, AdapterService& adapters,
               std::shared_ptr<const text::ModelText> text, Generator& generator,
               prometheus::Registry& registry)
    : options_(std::move(options)),
      adapters_(adapters),
      sandbox_(text::TextSandbox::Create(options_.sandbox)),
      sandbox_metrics_(registry),
      texts_(std::move(text), *sandbox_, options_.max_adapter_text_bytes, *options_.clock),
      planner_(adapters.directory()->max_model_len()),
      limits_(MakeLimits(options_, adapters.directory()->max_model_len())),
      auth_(options_.api_keys),
      admin_access_(options_.admin, auth_),
      admission_(options_, auth_, admin_access_),
      metrics_page_(
          [this, &registry] {
            sandbox_metrics_.Update(sandbox_->stats());
            journal_.Update();
            return registry.Collect();
          },
          *options_.clock),
      journal_(registry, options_.access_log),
      session_context_{generator, session_thread_.mailbox(), large_answer_thread_.mailbox()},
      text_threads_({.num_threads = options_.num_text_threads,
                     .max_pending = options_.max_pending_requests,
                     .max_pending_bytes = WaitingBodyBytes(options_)},
                    [this](TextTask task) { DoTextWork(std::move(task)); }),
      admin_(adapters),
      http_(
          ListenerOptions(options_, Listener::kClients),
          [this](net::HttpRequest request, std::shared_ptr<net::ResponseWriter> writer) {
            Handle(std::move(request), std::move(writer), Listener::kClients);
          },
          [this](const net::HttpRefusal& refusal) { return RefusedByHttp(refusal); },
          [this](const net::HttpRequest& head, bool has_body) {
            return Judge(head, has_body, Listener::kClients);
          }) {}

Server::~Server() { Stop(); }

Result<int> Server::Start() {
  RETURN_IF_ERROR(Admission::CheckOptions(options_));
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
  admin_http_.emplace(
      ListenerOptions(options_, Listener::kAdmin),
      [this](net::HttpRequest request, std::shared_ptr<net::ResponseWriter> writer) {
        Handle(std::move(request), std::move(writer), Listener::kAdmin);
      },
      [this](const net::HttpRefusal& refusal) { return RefusedByHttp(refusal); },
      [this](const net::HttpRequest& head, bool has_body) {
        return Judge(head, has_body, Listener::kAdmin);
      });
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

net::HttpVerdict Server::Judge(const net::HttpRequest& head, bool has_body, Listener listener) {
  const RouteMatch match = FindRoute(head.method, head.path);
  auto verdict = admission_.Judge(match, head, has_body, listener);
  if (verdict && has_body && verdict->keeps_body && !is_ready_) {
    verdict = tl::unexpected(Refusal{.error = ShuttingDown(), .headers = {}});
  }
  if (verdict) return std::move(*verdict);
  Refusal& refusal = verdict.error();
  Exchange exchange(head, nullptr, journal_, *options_.clock);
  if (match.route != nullptr) exchange.entry().route = match.route->path;
  net::HttpResponse response = {.status = 204};
  if (refusal.status != 204) {
    exchange.NoteError(refusal.error);
    response = ErrorResponse(refusal.error);
    if (refusal.status != 0) response.status = refusal.status;
  }
  for (const auto& [name, value] : refusal.headers) response.headers.Add(name, value);
  return {.refusal = exchange.Close(std::move(response)), .admits = false};
}

net::HttpResponse Server::RefusedByHttp(const net::HttpRefusal& refusal) {
  const ErrorCode code = refusal.status == 413   ? ErrorCode::kTooLarge
                         : refusal.status == 503 ? ErrorCode::kUnavailable
                         : refusal.status == 500 ? ErrorCode::kInternal
                                                 : ErrorCode::kInvalidArgument;
  Error error = {code, refusal.message, ""};
  if (refusal.status == 413 && refusal.limit_bytes == options_.http.max_body_bytes) {
    error.message += " (--max-body)";
  } else if (refusal.status == 431 && refusal.limit_bytes > 0) {
    error.message += " (--max-header)";
  }
  net::HttpRequest request;
  request.method = refusal.method.empty() ? "-" : refusal.method;
  request.path = refusal.path.empty() ? "-" : refusal.path;
  request.remote_address = refusal.remote_address;
  request.id = ~num_refused_by_http_++;  // apart from those that HTTP counts up
  Exchange exchange(request, nullptr, journal_, *options_.clock);
  exchange.NoteError(error);
  net::HttpResponse response = ErrorResponse(error);
  response.status = refusal.status;
  return exchange.Close(std::move(response));
}

void Server::Handle(net::HttpRequest request, std::shared_ptr<net::ResponseWriter> writer,
                    Listener listener) {
  auto exchange = std::make_unique<Exchange>(request, std::move(writer), journal_, *options_.clock);
  const RouteMatch match = FindRoute(request.method, request.path);
  exchange->entry().route = match.route->path;  // it has been judged: there is one
  if (match.route->endpoint == Endpoint::kMetrics) {
    return exchange->Send(MetricsResponse(admission_.ShowsNames(request.headers, listener)));
  }
  if (match.route->endpoint == Endpoint::kRoot) {
    return exchange->SendJson(WhatThisIs(options_.version, listener));
  }
  Answer(match, std::move(request), std::move(exchange));
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
        exchange->SendError(ShuttingDown());
      }
      return;
    case Endpoint::kVersion:
      exchange->SendJson(openai::FormatVersion(options_.version));
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
    exchange->SendError(ShuttingDown());
    return;
  }
  if (match.route->access == Access::kAdmin) {
    return admin_.Handle(*match.route, std::move(request), std::move(exchange));
  }
  TextTask task = {match.route->endpoint, std::move(request.body), std::move(exchange),
                   AdapterHeader(request.headers)};
  if (const Status sent = text_threads_.TrySend(std::move(task)); !sent) {
    task.exchange->SendError(sent.error());
  }
}

net::HttpResponse Server::MetricsResponse(bool shows_names) {
  const bool is_for_all = options_.metrics == MetricsAccess::kOpen ||
                          (options_.metrics == MetricsAccess::kNameless && !shows_names);
  return {.status = 200,
          .headers = {{"Content-Type", "text/plain; version=0.0.4; charset=utf-8"}},
          .body = is_for_all ? metrics_page_.Recent(shows_names) : metrics_page_.Now(shows_names)};
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
  // Calls work(request, chosen) if the body could be read and its model is at hand.
  const auto with_model = [&](auto request, const auto& work) {
    if (request) {
      if (const Status taken = TakeAdapterHeader(task.adapter_header, *request); !taken) {
        request = tl::unexpected(taken.error());
      }
    }
    if (!request) {
      exchange.entry().asked_model = PeekModel(task.body);
      return exchange.SendError(request.error());
    }
    exchange.entry().asked_model = AskedModel(*request);
    std::optional<ModelWithText> chosen = FindModel(*request, task);
    if (chosen) work(std::move(*request), std::move(*chosen));
  };
  switch (task.endpoint) {
    case Endpoint::kCompletions:
      return with_model(openai::ParseCompletion(task.body, limits_),
                        [&](auto request, ModelWithText to) {
                          const auto is_wanted = [&] {
                            return !text_threads_.stopping() && !exchange.writer()->closed();
                          };
                          launch(planner_.PlanCompletion(std::move(request), std::move(to.model),
                                                         std::move(to.text), is_wanted));
                        });
    case Endpoint::kChatCompletions:
      return with_model(openai::ParseChat(task.body, limits_), [&](auto request, ModelWithText to) {
        launch(planner_.PlanChat(std::move(request), std::move(to.model), std::move(to.text)));
      });
    case Endpoint::kTokenize:
      return with_model(
          openai::ParseTokenize(task.body, limits_),
          [&](const auto& request, const ModelWithText& to) { send(Tokenize(request, *to.text)); });
    case Endpoint::kDetokenize:
      return with_model(openai::ParseDetokenize(task.body, limits_), [&](const auto& request,
                                                                         const ModelWithText& to) {
        send(planner_.Detokenize(request, to.model, *to.text).map(openai::FormatDetokenize));
      });
    default:
      return exchange.SendError({ErrorCode::kInternal, "This is no text work.", ""});
  }
}

std::optional<Server::ModelWithText> Server::FindModel(const openai::ModelRequest& request,
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
  return ModelWithText{std::move(*choice), std::move(*text)};
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
  std::vector<std::string_view> strings;
  if (request.return_token_strings) {
    for (const TokenId token : tokens) strings.push_back(text.tokenizer.TokenBytes(token));
  }
  return openai::FormatTokenize(tokens, adapters_.directory()->max_model_len(),
                                request.return_token_strings ? &strings : nullptr);
}

}  // namespace lorry::server
