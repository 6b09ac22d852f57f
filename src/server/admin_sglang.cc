// SGLang's /load_lora_adapter and /unload_lora_adapter: api/sglang/adapters.h.
#include "api/sglang/adapters.h"
#include "server/admin_call.h"

namespace lorry::server {
namespace {

namespace sglang = api::sglang;

using Call = std::shared_ptr<AdminCall>;

// Every answer says what is loaded then.
void SendDone(const Call& call) {
  call->List([call](std::vector<AdapterStatus> adapters) {
    call->SendJson(200, sglang::FormatResult("", std::move(adapters)));
  });
}

void SendError(const Call& call, const Error& error, std::string message) {
  call->List([call, error, message = std::move(message)](std::vector<AdapterStatus> adapters) {
    call->SendError(error, 400, sglang::FormatResult(message, std::move(adapters)));
  });
}

void HandleLoad(const Call& call) {
  Result<AdapterRegistration> adapter = sglang::ParseLoad(call->request().body);
  if (!adapter) return SendError(call, adapter.error(), adapter.error().message);
  call->Register(*adapter, [call, name = adapter->name](const Result<AdapterStatus>& status) {
    if (status) return SendDone(call);
    SendError(call, status.error(), sglang::LoadErrorText(status.error(), name));
  });
}

void HandleUnload(const Call& call) {
  const Result<std::string> name = sglang::ParseUnload(call->request().body);
  if (!name) return SendError(call, name.error(), name.error().message);
  call->Remove(*name, [call, name = *name](const Status& status) {
    if (status) return SendDone(call);
    SendError(call, status.error(), sglang::UnloadErrorText(status.error(), name));
  });
}

}  // namespace

void HandleSglang(const Call& call) {
  if (call->endpoint() == Endpoint::kSglangLoad) return HandleLoad(call);
  HandleUnload(call);
}

}  // namespace lorry::server
