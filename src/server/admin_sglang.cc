// SGLang's /load_lora_adapter and /unload_lora_adapter: api/sglang/adapters.h.
#include "api/sglang/adapters.h"
#include "server/admin_call.h"

namespace lorry::server {
namespace {

namespace sglang = api::sglang;

using Call = std::shared_ptr<AdminCall>;

// No message: it went well. Every answer says what is loaded then.
void SendResult(const Call& call, std::string error_message) {
  call->List([call, message = std::move(error_message)](std::vector<AdapterStatus> adapters) {
    call->SendJson(message.empty() ? 200 : 400, sglang::FormatResult(message, std::move(adapters)));
  });
}

void HandleLoad(const Call& call) {
  Result<AdapterRegistration> adapter = sglang::ParseLoad(call->request().body);
  if (!adapter) return SendResult(call, adapter.error().message);
  call->Register(*adapter, [call, name = adapter->name](const Result<AdapterStatus>& status) {
    SendResult(call, status ? "" : sglang::LoadErrorText(status.error(), name));
  });
}

void HandleUnload(const Call& call) {
  const Result<std::string> name = sglang::ParseUnload(call->request().body);
  if (!name) return SendResult(call, name.error().message);
  call->Remove(*name, [call, name = *name](const Status& status) {
    SendResult(call, status ? "" : sglang::UnloadErrorText(status.error(), name));
  });
}

}  // namespace

void HandleSglang(const Call& call) {
  if (call->endpoint() == Endpoint::kSglangLoad) return HandleLoad(call);
  HandleUnload(call);
}

}  // namespace lorry::server
