// Server: OpenAI's API over HTTP, in front of a Generator.
// Owns: the HTTP server, the text threads and the session threads.
// Thread: Start, Drain and Stop from one.
//
// The way of a request, and the thread of each part:
//   io thread        route, key (of the header alone), the answers that need no work
//   text thread      body → plan: parse, chat template, tokens, limits
//   session thread   submits the plan; the engine's events → text, stop strings, chunks, usage
//   engine's thread  only puts its events into the session thread's mailbox
// Never: blocks the engine's thread or an io thread on text work.
#pragma once

#include <atomic>
#include <memory>
#include <optional>

#include "api/openai/parse.h"
#include "base/result.h"
#include "request/adapter_service.h"
#include "request/generator.h"
#include "server/admin.h"
#include "server/admin_access.h"
#include "server/admission.h"
#include "server/auth.h"
#include "server/exchange.h"
#include "server/generation_plan.h"
#include "server/journal.h"
#include "server/metrics_page.h"
#include "server/router.h"
#include "server/sandbox_metrics.h"
#include "server/server_options.h"
#include "server/session.h"
#include "server/session_thread.h"
#include "server/text_cache.h"
#include "server/text_threads.h"
#include "text/model_text.h"

namespace lorry::server {

class Server {
 public:
  // Adapters, generator and registry outlive Stop; the server itself outlives the adapters' last
  // callback. `text`: the base's; without a chat template its chats are refused.
  Server(ServerOptions options, AdapterService& adapters,
         std::shared_ptr<const text::ModelText> text, Generator& generator,
         prometheus::Registry& registry);
  ~Server();  // Stop

  // The port that it listens on.
  Result<int> Start();
  // Of management's own listener; 0: there is none.
  int admin_port() const { return admin_port_; }

  // /ready says 503, new requests are refused, running ones finish. False: some were left after
  // `limit_us`.
  bool Drain(Micros limit_us);

  // Ends everything; what runs is cancelled. Comes before the generator is destroyed.
  void Stop();

 private:
  Status StartAdmin();
  void Handle(net::HttpRequest request, std::shared_ptr<net::ResponseWriter> writer,
              Listener listener);  // io threads
  // What its header says of a request; those that it refuses are journaled here.
  net::HttpVerdict Judge(const net::HttpRequest& head, bool has_body, Listener listener);
  net::HttpResponse RefusedByHttp(const net::HttpRefusal& refusal);
  void Answer(const RouteMatch& match, net::HttpRequest request,
              std::unique_ptr<Exchange> exchange);
  void DoTextWork(TextTask task);  // text threads
  struct ModelWithText {
    ModelChoice model;
    TextCache::Text text;
  };
  // The model that a request names, all weights at hand; or the request waits for them or has been
  // answered, and nullopt.
  std::optional<ModelWithText> FindModel(const api::openai::ModelRequest& request, TextTask& task);
  void Park(std::vector<AdapterTerm> adapters, TextTask task);
  void Launch(GenerationPlan plan, std::unique_ptr<Exchange> exchange);

  Result<std::string> Tokenize(const api::openai::TokenizeRequest& request,
                               const text::ModelText& text) const;
  net::HttpResponse MetricsResponse(bool shows_names);

  const ServerOptions options_;
  AdapterService& adapters_;
  const std::shared_ptr<text::TextSandbox> sandbox_;
  SandboxMetrics sandbox_metrics_;
  TextCache texts_;
  const Planner planner_;
  const api::openai::ParseLimits limits_;
  const Auth auth_;
  const AdminAccess admin_access_;
  const Admission admission_;
  MetricsPage metrics_page_;
  Journal journal_;
  std::atomic<bool> is_ready_ = false;
  std::atomic<uint64_t> next_request_id_ = 1;
  std::atomic<uint64_t> num_refused_by_http_ = 0;

  SessionThread session_thread_{AnswerSize::kUsual};
  SessionThread large_answer_thread_{AnswerSize::kLarge};
  const SessionContext session_context_;
  TextThreads text_threads_;
  AdminApi admin_;
  net::HttpServer http_;
  std::optional<net::HttpServer> admin_http_;
  int admin_port_ = 0;
};

}  // namespace lorry::server
