// SageMaker's /adapters and DJL Serving's /models/{model}/adapters: api/sagemaker/adapters.h.
#include "api/error_map.h"
#include "api/sagemaker/adapters.h"
#include "server/admin_call.h"

namespace lorry::server {
namespace {

namespace sagemaker = api::sagemaker;

using Call = std::shared_ptr<AdminCall>;
using sagemaker::Change;

constexpr std::string_view kAliasHeader = "x-amzn-sagemaker-adapter-alias";
constexpr std::string_view kUpdateSuffix = "/update";

void SendError(const Call& call, const Error& error) {
  call->SendError(error, api::HttpErrorOf(error).status, sagemaker::FormatError(error));
}

void SendChange(const Call& call, Change change, const std::string& name) {
  const std::string_view shown = call->request().headers.Find(kAliasHeader).value_or(name);
  call->SendJson(200, sagemaker::FormatStatus(sagemaker::ChangeText(change, shown)));
}

Error Unknown(std::string_view what, std::string_view name) {
  return {ErrorCode::kNotFound, fmt::format("The {} {} was not found", what, name), ""};
}

void HandleList(const Call& call) {
  const Result<sagemaker::ListQuery> query = sagemaker::ParseListQuery(call->query());
  if (!query) return SendError(call, query.error());
  call->List([call, query = *query](std::vector<AdapterStatus> adapters) {
    std::erase_if(adapters, [](const AdapterStatus& adapter) { return !adapter.is_registered; });
    call->SendJson(200, sagemaker::FormatList(std::move(adapters), query));
  });
}

// SageMaker sends a body, DJL's clients the query string.
void HandleRegister(const Call& call) {
  const std::string& body = call->request().body;
  const Result<AdapterRegistration> adapter = body.empty()
                                                  ? sagemaker::ParseRegistrationQuery(call->query())
                                                  : sagemaker::ParseRegistration(body);
  if (!adapter) return SendError(call, adapter.error());
  call->Register(*adapter, [call, name = adapter->name](const Result<AdapterStatus>& status) {
    if (!status) return SendError(call, status.error());
    SendChange(call, Change::kRegistered, name);
  });
}

void HandleUpdate(const Call& call, const std::string& name) {
  const Result<AdapterUpdate> update = sagemaker::ParseUpdateQuery(call->query());
  if (!update) return SendError(call, update.error());
  call->Update(name, *update, [call, name](const Result<AdapterStatus>& status) {
    if (!status) return SendError(call, status.error());
    SendChange(call, Change::kUpdated, name);
  });
}

void HandleDescribe(const Call& call, const std::string& name) {
  call->Find(name, [call](const Result<AdapterStatus>& status) {
    if (!status) return SendError(call, status.error());
    call->SendJson(200, sagemaker::FormatDescription(*status));
  });
}

void HandleRemove(const Call& call, const std::string& name) {
  call->Remove(name, [call, name](const Status& status) {
    if (!status) return SendError(call, status.error());
    SendChange(call, Change::kUnregistered, name);
  });
}

void HandleAll(const Call& call) {
  if (call->Is("GET")) return HandleList(call);
  if (call->Is("POST")) return HandleRegister(call);
  SendError(call, {ErrorCode::kInvalidArgument, "The adapter's name is missing.", "name"});
}

void HandleOne(const Call& call, std::string_view name) {
  if (call->Is("GET")) return HandleDescribe(call, std::string(name));
  if (call->Is("DELETE")) return HandleRemove(call, std::string(name));
  if (!name.ends_with(kUpdateSuffix)) return SendError(call, Unknown("call", name));
  HandleUpdate(call, std::string(name.substr(0, name.size() - kUpdateSuffix.size())));
}

// "{model}/adapters" and "{model}/adapters/{name}", where both names may have slashes.
void HandleOfModel(const Call& call) {
  const std::string_view rest = call->rest();
  const std::shared_ptr<const ModelDirectory> directory = call->adapters().directory();
  for (const std::string& base : directory->base_names()) {
    const std::string list = base + "/adapters";
    if (rest == list) return HandleAll(call);
    if (rest.starts_with(list + "/")) return HandleOne(call, rest.substr(list.size() + 1));
  }
  SendError(call, Unknown("model", rest.substr(0, rest.find("/adapters"))));
}

}  // namespace

void HandleSagemaker(const Call& call) {
  if (call->endpoint() == Endpoint::kDjlModels) return HandleOfModel(call);
  if (call->endpoint() == Endpoint::kSagemakerAdapter) return HandleOne(call, call->rest());
  HandleAll(call);
}

}  // namespace lorry::server
