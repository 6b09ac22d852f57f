#include "server/admin.h"

#include <chrono>
#include <vector>

#include "base/thread_name.h"

namespace lorry::server {
namespace {

constexpr size_t kMaxPending = 1024;

void Dispatch(const std::shared_ptr<AdminCall>& call) {
  switch (call->endpoint()) {
    case Endpoint::kAdapters:
    case Endpoint::kAdapter:
      return HandleNative(call);
    case Endpoint::kVllmLoad:
    case Endpoint::kVllmUnload:
      return HandleVllm(call);
    case Endpoint::kSglangLoad:
    case Endpoint::kSglangUnload:
      return HandleSglang(call);
    case Endpoint::kSagemakerAdapters:
    case Endpoint::kSagemakerAdapter:
    case Endpoint::kDjlModels:
      return HandleSagemaker(call);
    default:
      return call->SendError({ErrorCode::kInternal, "This manages no adapters.", ""});
  }
}

}  // namespace

AdminApi::AdminApi(AdapterService& adapters)
    : adapters_(adapters), mailbox_(std::make_shared<AdminMailbox>(kMaxPending)) {}

AdminApi::~AdminApi() { Stop(); }

void AdminApi::Start() {
  thread_ = std::thread([this] { Run(); });
}

void AdminApi::Stop() {
  stopping_ = true;
  mailbox_->Close();
  if (thread_.joinable()) thread_.join();
  std::vector<std::function<void()>> unheard;  // they hold the mailbox, as it holds them
  mailbox_->Drain(unheard);
}

void AdminApi::Handle(const Route& route, net::HttpRequest request,
                      std::unique_ptr<Exchange> exchange) {
  const std::shared_ptr<Exchange> shared = std::move(exchange);
  auto call = std::make_shared<AdminCall>(route, std::move(request), shared, adapters_, mailbox_);
  if (mailbox_->TrySend([call] { Dispatch(call); })) return;
  call->SendError({ErrorCode::kResourceExhausted,
                   "Too many requests to manage adapters are waiting. Try again later.", ""});
}

void AdminApi::Run() {
  NameThisThread("lorry-admin");
  std::vector<std::function<void()>> work;
  while (!stopping_) {
    mailbox_->WaitFor(std::chrono::seconds(60));
    mailbox_->Drain(work);
    for (const std::function<void()>& each : work) each();
    work.clear();
  }
}

}  // namespace lorry::server
