// AdminApi: the routes by which adapters come, change and go while the server runs, in Lorry's own
// form and in those that people's tools speak already (vLLM, SGLang, SageMaker, DJL Serving).
// Owns: the admin thread and its mailbox. Thread: Handle from any; Start and Stop from one. Never:
// keeps the admin thread waiting for a source: its calls are answered when the adapter service
// answers.
#pragma once

#include <atomic>
#include <memory>
#include <thread>

#include "request/adapter_service.h"
#include "server/admin_call.h"

namespace lorry::server {

class AdminApi {
 public:
  explicit AdminApi(AdapterService& adapters);  // outlives this
  ~AdminApi();                                  // Stop

  void Start();
  // What the service answers from here on is dropped, and with it the exchange.
  void Stop();

  // Of a route whose access is kAdmin and has been granted.
  void Handle(const Route& route, net::HttpRequest request, std::unique_ptr<Exchange> exchange);

 private:
  void Run();

  AdapterService& adapters_;
  const std::shared_ptr<AdminMailbox> mailbox_;  // shared: the service's callbacks outlive this
  std::atomic<bool> stopping_ = false;
  std::thread thread_;
};

}  // namespace lorry::server
