#include "server/admin_call.h"

#include <algorithm>

namespace lorry::server {
namespace {

// The request has been read by now, so what an adapter's weights are refused for is their source.
Error AboutSource(Error error) {
  switch (error.code) {
    case ErrorCode::kTooLarge:
    case ErrorCode::kUnsupported:
    case ErrorCode::kUnauthenticated:
    case ErrorCode::kDataLoss:
      error.param = "source";
      break;
    default:
      break;
  }
  return error;
}

}  // namespace

api::QueryLookup AdminCall::query() const {
  return [this](std::string_view name) { return net::QueryParam(request_.query, name); };
}

void AdminCall::SendJson(int status, std::string body) {
  net::HttpResponse response = Exchange::JsonResponse(status, std::move(body));
  if (status == 429 || status == 503) response.headers.Add("Retry-After", "1");
  Send(std::move(response));
}

void AdminCall::SendText(std::string text) {
  Send({.status = 200,
        .headers = {{"Content-Type", "text/plain; charset=utf-8"}},
        .body = std::move(text)});
}

void AdminCall::SendError(const Error& error) {
  exchange_->NoteError(error);
  Send(ErrorResponse(error));
}

void AdminCall::SendError(const Error& error, int status, std::string body) {
  exchange_->NoteError(error);
  SendJson(status, std::move(body));
}

void AdminCall::Send(net::HttpResponse response) {
  if (exchange_->writer()->closed()) return exchange_->Abandon();
  exchange_->Send(std::move(response));
}

template <typename T>
std::function<void(T)> AdminCall::OnAdminThread(std::function<void(T)> done) {
  return [mailbox = mailbox_, done = std::move(done)](T value) {
    mailbox->SendAlways([done, value = std::move(value)]() mutable { done(std::move(value)); });
  };
}

void AdminCall::Register(AdapterRegistration adapter,
                         std::function<void(Result<AdapterStatus>)> done) {
  exchange_->entry().adapter = adapter.name;
  adapters_.Register(std::move(adapter),
                     OnAdminThread<Result<AdapterStatus>>([done](Result<AdapterStatus> status) {
                       if (status) return done(std::move(status));
                       Error error = AboutSource(std::move(status.error()));
                       const bool is_refusal = error.code == ErrorCode::kNotFound ||
                                               error.code == ErrorCode::kPermission;
                       if (is_refusal && error.param.empty()) error.param = "source";
                       done(tl::unexpected<Error>(std::move(error)));
                     }));
}

void AdminCall::Update(const std::string& name, AdapterUpdate update,
                       std::function<void(Result<AdapterStatus>)> done) {
  exchange_->entry().adapter = name;
  adapters_.Update(name, std::move(update),
                   OnAdminThread<Result<AdapterStatus>>([done](Result<AdapterStatus> status) {
                     done(std::move(status).map_error(AboutSource));
                   }));
}

void AdminCall::Remove(const std::string& name, std::function<void(Status)> done) {
  exchange_->entry().adapter = name;
  adapters_.Remove(name, OnAdminThread<Status>(std::move(done)));
}

void AdminCall::List(std::function<void(std::vector<AdapterStatus>)> done) {
  adapters_.List(OnAdminThread<std::vector<AdapterStatus>>(std::move(done)));
}

void AdminCall::Find(const std::string& name, std::function<void(Result<AdapterStatus>)> done) {
  exchange_->entry().adapter = name;
  List([name, directory = adapters_.directory(),
        done = std::move(done)](std::vector<AdapterStatus> adapters) {
    const auto found = std::ranges::find(adapters, name, &AdapterStatus::name);
    if (found != adapters.end()) return done(std::move(*found));
    done(tl::unexpected(directory->NoAdapter(name, "name")));
  });
}

}  // namespace lorry::server
