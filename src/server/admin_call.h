// AdminCall: one request to manage adapters, from its dispatch to its answer.
// Owns: the exchange. Thread: the admin thread; what the adapter service answers comes back to it.
// Never: blocks on the adapter service.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "api/adapter_fields.h"
#include "base/mailbox.h"
#include "request/adapter_service.h"
#include "server/exchange.h"
#include "server/router.h"

namespace lorry::server {

// Work for the admin thread, which may be gone by the time that a slow source has answered.
using AdminMailbox = Mailbox<std::function<void()>>;

class AdminCall : public std::enable_shared_from_this<AdminCall> {
 public:
  AdminCall(const Route& route, net::HttpRequest request, std::shared_ptr<Exchange> exchange,
            AdapterService& adapters, std::shared_ptr<AdminMailbox> mailbox)
      : endpoint_(route.endpoint),
        rest_(request.path.substr(route.path.size())),
        request_(std::move(request)),
        exchange_(std::move(exchange)),
        adapters_(adapters),
        mailbox_(std::move(mailbox)) {}

  Endpoint endpoint() const { return endpoint_; }
  // HEAD is GET here.
  bool Is(std::string_view method) const {
    return request_.method == method || (method == "GET" && request_.method == "HEAD");
  }
  const std::string& rest() const { return rest_; }  // of the path, below its route
  const net::HttpRequest& request() const { return request_; }
  api::QueryLookup query() const;
  AdapterService& adapters() { return adapters_; }

  // The answer; whichever comes first.
  void SendJson(int status, std::string body);
  void SendText(std::string text);
  void SendError(const Error& error);                                // in OpenAI's shape
  void SendError(const Error& error, int status, std::string body);  // in a dialect's own

  // What the service says comes with the params of error_map: "source" where it is about one.
  void Register(AdapterRegistration adapter, std::function<void(Result<AdapterStatus>)> done);
  void Update(const std::string& name, AdapterUpdate update,
              std::function<void(Result<AdapterStatus>)> done);
  void Remove(const std::string& name, std::function<void(Status)> done);
  void List(std::function<void(std::vector<AdapterStatus>)> done);
  // kNotFound: there is no such adapter.
  void Find(const std::string& name, std::function<void(Result<AdapterStatus>)> done);

 private:
  void Send(net::HttpResponse response);
  template <typename T>
  std::function<void(T)> OnAdminThread(std::function<void(T)> done);

  const Endpoint endpoint_;
  const std::string rest_;
  const net::HttpRequest request_;
  const std::shared_ptr<Exchange> exchange_;
  AdapterService& adapters_;
  const std::shared_ptr<AdminMailbox> mailbox_;
};

// The dialects: each answers `call`, now or later.
void HandleNative(const std::shared_ptr<AdminCall>& call);     // /v1/adapters…
void HandleVllm(const std::shared_ptr<AdminCall>& call);       // /v1/[un]load_lora_adapter
void HandleSglang(const std::shared_ptr<AdminCall>& call);     // /[un]load_lora_adapter
void HandleSagemaker(const std::shared_ptr<AdminCall>& call);  // /adapters…, /models/…

}  // namespace lorry::server
