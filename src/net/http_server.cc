#include "net/http_server.h"

#include <fmt/format.h>

#include <algorithm>
#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/ip/v6_only.hpp>
#include <boost/asio/post.hpp>
#include <cerrno>
#include <cstring>
#include <future>
#include <iterator>
#include <list>
#include <thread>
#include <vector>

#include "base/background.h"
#include "base/check.h"
#include "base/log.h"
#include "base/thread_name.h"
#include "net/accept_failures.h"
#include "net/http_connection.h"

namespace lorry::net {
namespace {

namespace asio = boost::asio;
using asio::ip::tcp;
using boost::system::error_code;

constexpr std::chrono::milliseconds kAcceptRetry{100};  // after running out of file descriptors

Error ListenError(const error_code& error, const HttpServerOptions& options) {
  const std::string where = fmt::format("{}:{}", options.host, options.port);
  if (error == asio::error::address_in_use) {
    return {ErrorCode::kConflict,
            fmt::format("port {} on {} is in use: stop the program that listens there, or choose "
                        "another port (0 takes any free one)",
                        options.port, options.host),
            "port"};
  }
  if (error == asio::error::access_denied) {
    return {ErrorCode::kPermission,
            fmt::format("no right to listen on {}: ports below 1024 need root; choose a higher one",
                        where),
            "port"};
  }
  return {ErrorCode::kInvalidArgument,
          fmt::format("cannot listen on {}: {}", where, error.message()), "host"};
}

}  // namespace

// The listening sockets and the io threads.
struct HttpServer::Core {
  using Acceptor = asio::basic_socket_acceptor<tcp, HttpConnection::Strand>;
  using Timer = asio::basic_waitable_timer<std::chrono::steady_clock,
                                           asio::wait_traits<std::chrono::steady_clock>,
                                           HttpConnection::Strand>;

  struct Listener {
    Acceptor acceptor;
    Timer retry;  // its own: to wait for one would end the wait of another
  };

  explicit Core(std::shared_ptr<HttpServerContext> context)
      : context(std::move(context)), strand(asio::make_strand(this->context->io)) {}

  Result<int> Listen();
  error_code ListenAt(tcp::endpoint endpoint, bool one_of_many);
  void AcceptNext(Listener& listener);
  void OnAccept(Listener& listener, const error_code& error, HttpConnection::Socket socket);
  void AcceptLater(Listener& listener, const error_code& error);
  static void Dismiss(const std::optional<ConnectionTable::Departure>& departure);
  void CloseAcceptors();
  void RunIo();

  const std::shared_ptr<HttpServerContext> context;
  const HttpConnection::Strand strand;  // of the listeners
  std::list<Listener> listeners;
  AcceptFailures failures;
  std::vector<std::thread> threads;
  std::optional<asio::executor_work_guard<asio::io_context::executor_type>> work;
};

Result<int> HttpServer::Core::Listen() {
  const HttpServerOptions& options = context->options;
  error_code error;
  tcp::resolver resolver(context->io);
  const auto found =
      resolver.resolve(options.host, std::to_string(options.port),
                       tcp::resolver::passive | tcp::resolver::numeric_service, error);
  if (error) return tl::unexpected(ListenError(error, options));

  // A name may have several addresses ("localhost" has one of IPv4 and one of IPv6): all get the
  // same port.
  int port = options.port;
  error_code first_error;
  for (const auto& entry : found) {
    tcp::endpoint endpoint = entry.endpoint();
    endpoint.port(static_cast<uint16_t>(port));
    error = ListenAt(endpoint, found.size() > 1);
    if (error == asio::error::address_in_use) return tl::unexpected(ListenError(error, options));
    if (error) {
      if (!first_error) first_error = error;
      continue;
    }
    port = listeners.back().acceptor.local_endpoint(error).port();
  }
  if (listeners.empty()) return tl::unexpected(ListenError(first_error, options));
  return port;
}

error_code HttpServer::Core::ListenAt(tcp::endpoint endpoint, bool one_of_many) {
  Acceptor acceptor(strand);
  error_code error;
  if (acceptor.open(endpoint.protocol(), error)) return error;
  if (acceptor.set_option(tcp::acceptor::reuse_address(true), error)) return error;
  if (endpoint.protocol() == tcp::v6() &&
      acceptor.set_option(asio::ip::v6_only(one_of_many), error)) {
    return error;
  }
  if (acceptor.bind(endpoint, error)) return error;
  if (acceptor.listen(tcp::acceptor::max_listen_connections, error)) return error;
  listeners.push_back({std::move(acceptor), Timer(strand)});
  return error;
}

void HttpServer::Core::AcceptNext(Listener& listener) {
  listener.acceptor.async_accept(
      asio::make_strand(context->io),
      [this, &listener](const error_code& error, HttpConnection::Socket socket) {
        OnAccept(listener, error, std::move(socket));
      });
}

void HttpServer::Core::OnAccept(Listener& listener, const error_code& error,
                                HttpConnection::Socket socket) {
  if (!listener.acceptor.is_open()) return;
  if (error && error != asio::error::connection_aborted) return AcceptLater(listener, error);
  if (!error) {
    if (const auto line = failures.Accepted(std::chrono::steady_clock::now())) {
      log::Warning("{}", *line);
    }
    auto connection = std::make_shared<HttpConnection>(context, std::move(socket));
    Dismiss(context->connections.Add(connection));
    connection->Serve();
  }
  AcceptNext(listener);
}

// No descriptors or no memory, of the process or of the whole system: whoever waits is still there
// when there are some again. Other errors are of one connection, or of the network.
void HttpServer::Core::AcceptLater(Listener& listener, const error_code& error) {
  if (const auto line =
          failures.Failed(std::chrono::steady_clock::now(), std::strerror(error.value()))) {
    log::Warning("{}", *line);
  }
  constexpr int kShortages[] = {EMFILE, ENFILE, ENOBUFS, ENOMEM};
  if (std::ranges::find(kShortages, error.value()) != std::end(kShortages)) {
    Dismiss(context->connections.DismissOldestNewcomer());
  }
  listener.retry.expires_after(kAcceptRetry);
  listener.retry.async_wait([this, &listener](const error_code& cancelled) {
    if (!cancelled && listener.acceptor.is_open()) AcceptNext(listener);
  });
}

void HttpServer::Core::Dismiss(const std::optional<ConnectionTable::Departure>& departure) {
  if (!departure) return;
  departure->is_abrupt ? departure->connection->Abort() : departure->connection->Dismiss();
}

void HttpServer::Core::CloseAcceptors() {
  std::promise<void> closed;
  asio::post(strand, [this, &closed] {
    error_code ignored;
    for (Listener& listener : listeners) {
      listener.acceptor.close(ignored);
      listener.retry.cancel();
    }
    closed.set_value();
  });
  closed.get_future().wait();
}

void HttpServer::Core::RunIo() {
  while (true) {
    try {
      context->io.run();
      return;
    } catch (const std::exception& e) {  // out of memory: costs the connection it happened to
      log::Error("a connection was dropped: {}", e.what());
    }
  }
}

HttpServer::HttpServer(HttpServerOptions options, HttpHandler handler,
                       HttpErrorFormatter format_error, HttpJudge judge)
    : core_(std::make_unique<Core>(std::make_shared<HttpServerContext>(
          std::move(options), std::move(handler), std::move(format_error), std::move(judge)))) {}

HttpServer::~HttpServer() { Stop(); }

Result<int> HttpServer::Start() {
  CHECK(core_->threads.empty());
  ASSIGN_OR_RETURN(const int port, core_->Listen());
  core_->work.emplace(core_->context->io.get_executor());
  for (int i = 0; i < std::max(1, core_->context->options.num_io_threads); ++i) {
    core_->threads.emplace_back([core = core_.get(), i] {
      NameThisThread(fmt::format("io-{}", i).c_str());
      BecomeQuickThread();
      core->RunIo();
    });
  }
  asio::post(core_->strand, [core = core_.get()] {
    for (Core::Listener& listener : core->listeners) core->AcceptNext(listener);
  });
  return port;
}

bool HttpServer::Drain(std::chrono::milliseconds limit) {
  if (core_->threads.empty()) return true;
  core_->context->draining = true;
  core_->CloseAcceptors();
  for (const auto& connection : core_->context->connections.All()) connection->CloseIfIdle();
  return core_->context->connections.WaitUntilNone(limit);
}

void HttpServer::Stop() {
  if (core_->threads.empty()) return;
  core_->context->draining = true;
  core_->CloseAcceptors();
  for (const auto& connection : core_->context->connections.All()) connection->Abort();
  core_->work.reset();  // the threads end once no connection has anything pending
  for (std::thread& thread : core_->threads) thread.join();
  core_->threads.clear();
}

int HttpServer::num_connections() const { return core_->context->connections.size(); }

}  // namespace lorry::net
