// /v1/adapters, Lorry's own: api/native/adapters.h.
#include "api/native/adapters.h"
#include "server/admin_call.h"

namespace lorry::server {
namespace {

namespace native = api::native;

using Call = std::shared_ptr<AdminCall>;

std::function<void(Result<AdapterStatus>)> SendStatus(const Call& call, int http_status) {
  return [call, http_status](const Result<AdapterStatus>& status) {
    if (!status) return call->SendError(status.error());
    call->SendJson(http_status, native::FormatAdapter(*status));
  };
}

void HandleList(const Call& call) {
  Result<native::ListQuery> query = native::ParseListQuery(call->query());
  if (!query) return call->SendError(query.error());
  call->List([call, query = std::move(*query)](std::vector<AdapterStatus> adapters) {
    call->SendJson(200, native::FormatAdapters(std::move(adapters), query));
  });
}

void HandleRegister(const Call& call) {
  Result<AdapterRegistration> adapter = native::ParseRegistration(call->request().body);
  if (!adapter) return call->SendError(adapter.error());
  call->Register(std::move(*adapter), SendStatus(call, 201));
}

void HandleUpdate(const Call& call) {
  Result<AdapterUpdate> update = native::ParseUpdate(call->request().body);
  if (!update) return call->SendError(update.error());
  call->Update(call->rest(), std::move(*update), SendStatus(call, 200));
}

void HandleRemove(const Call& call) {
  call->Remove(call->rest(), [call](const Status& status) {
    if (!status) return call->SendError(status.error());
    call->SendJson(200, native::FormatRemoved(call->rest()));
  });
}

}  // namespace

void HandleNative(const Call& call) {
  const bool is_one = call->endpoint() == Endpoint::kAdapter;
  if (!is_one) return call->Is("GET") ? HandleList(call) : HandleRegister(call);
  if (call->Is("GET")) return call->Find(call->rest(), SendStatus(call, 200));
  return call->Is("PATCH") ? HandleUpdate(call) : HandleRemove(call);
}

}  // namespace lorry::server
