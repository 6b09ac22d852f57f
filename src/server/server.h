// Server: OpenAI's API over HTTP, in front of a Generator.
// Owns: the HTTP server, the text threads and the session thread. Thread: Start, Drain and Stop
// from one.
//
// The way of a request, and the thread of each part:
//   io thread        route, key, the answers that need no work
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
#include "request/generator.h"
#include "request/model_directory.h"
#include "server/auth.h"
#include "server/exchange.h"
#include "server/generation_plan.h"
#include "server/journal.h"
#include "server/router.h"
#include "server/server_options.h"
#include "server/session.h"
#include "server/session_thread.h"
#include "server/text_threads.h"
#include "text/chat_template.h"
#include "text/tokenizer.h"

namespace lorry::server {

class Server {
 public:
  // The generator and the registry outlive the server. Without a chat template chats are refused.
  Server(ServerOptions options, ModelDirectory directory, text::Tokenizer tokenizer,
         std::optional<text::ChatTemplate> chat_template, Generator& generator,
         prometheus::Registry& registry);
  ~Server();  // Stop

  // The port that it listens on.
  Result<int> Start();

  // /ready says 503, new requests are refused, running ones finish. False: some were left after
  // `limit_us`.
  bool Drain(Micros limit_us);

  // Ends everything; what runs is cancelled. Comes before the generator is destroyed.
  void Stop();

 private:
  void Handle(net::HttpRequest request, std::shared_ptr<net::ResponseWriter> writer);  // io threads
  void Answer(const RouteMatch& match, net::HttpRequest request,
              std::unique_ptr<Exchange> exchange);
  void DoTextWork(TextTask task);  // text threads
  void Launch(GenerationPlan plan, std::unique_ptr<Exchange> exchange);

  Result<std::string> TokenizeBody(const std::string& body) const;
  Result<std::string> DetokenizeBody(const std::string& body) const;
  net::HttpResponse MetricsResponse() const;

  const ServerOptions options_;
  const ModelDirectory directory_;
  const Planner planner_;
  const api::openai::ParseLimits limits_;
  const Auth auth_;
  prometheus::Registry& registry_;
  Journal journal_;
  std::atomic<bool> is_ready_ = false;
  std::atomic<uint64_t> next_request_id_ = 1;

  SessionThread session_thread_;
  const SessionContext session_context_;
  TextThreads text_threads_;
  net::HttpServer http_;
};

}  // namespace lorry::server
