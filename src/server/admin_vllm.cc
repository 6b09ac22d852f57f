// vLLM's /v1/load_lora_adapter and /v1/unload_lora_adapter: api/vllm/adapters.h.
#include "api/vllm/adapters.h"
#include "server/admin_call.h"

namespace lorry::server {
namespace {

namespace vllm = api::vllm;

using Call = std::shared_ptr<AdminCall>;

void SendError(const Call& call, const Error& error, vllm::ErrorAnswer answer) {
  call->SendError(error, answer.status, std::move(answer.body));
}

void HandleLoad(const Call& call) {
  const Result<AdapterRegistration> adapter = vllm::ParseLoad(call->request().body);
  if (!adapter) return SendError(call, adapter.error(), vllm::FormatBadRequest(adapter.error()));
  call->Register(*adapter, [call, adapter = *adapter](const Result<AdapterStatus>& status) {
    if (!status) {
      return SendError(call, status.error(), vllm::FormatLoadError(status.error(), adapter));
    }
    call->SendText(vllm::LoadedText(adapter.name));
  });
}

void HandleUnload(const Call& call) {
  const Result<std::string> name = vllm::ParseUnload(call->request().body);
  if (!name) return SendError(call, name.error(), vllm::FormatBadRequest(name.error()));
  call->Remove(*name, [call, name = *name](const Status& status) {
    if (!status) {
      return SendError(call, status.error(), vllm::FormatUnloadError(status.error(), name));
    }
    call->SendText(vllm::UnloadedText(name));
  });
}

}  // namespace

void HandleVllm(const Call& call) {
  if (call->endpoint() == Endpoint::kVllmLoad) return HandleLoad(call);
  HandleUnload(call);
}

}  // namespace lorry::server
