#include "net/http_test_server.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <stdexcept>

namespace lorry::net {

RawClient::RawClient(int port, int receive_buffer_bytes) {
  fd_ = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (receive_buffer_bytes > 0) {
    setsockopt(fd_, SOL_SOCKET, SO_RCVBUF, &receive_buffer_bytes, sizeof(receive_buffer_bytes));
  }
  sockaddr_in address = {};
  address.sin_family = AF_INET;
  address.sin_port = htons(static_cast<uint16_t>(port));
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  EXPECT_EQ(connect(fd_, reinterpret_cast<sockaddr*>(&address), sizeof(address)), 0);
}

RawClient::~RawClient() { Close(); }

bool RawClient::Send(std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t num_sent = send(fd_, bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (num_sent <= 0) return false;
    bytes.remove_prefix(static_cast<size_t>(num_sent));
  }
  return true;
}

void RawClient::ShutdownSend() { shutdown(fd_, SHUT_WR); }

void RawClient::Close() {
  if (fd_ >= 0) close(fd_);
  fd_ = -1;
}

void RawClient::Reset() {
  const linger reset = {1, 0};
  setsockopt(fd_, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset));
  Close();
}

std::string RawClient::ReadUntil(std::string_view end, std::chrono::milliseconds limit) {
  const auto deadline = std::chrono::steady_clock::now() + limit;
  std::string bytes;
  while (end.empty() || bytes.find(end) == std::string::npos) {
    const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(
        deadline - std::chrono::steady_clock::now());
    pollfd entry = {fd_, POLLIN, 0};
    if (left.count() <= 0 || poll(&entry, 1, static_cast<int>(left.count())) <= 0) break;
    char buffer[4096];
    const ssize_t num_bytes = recv(fd_, buffer, sizeof(buffer), 0);
    if (num_bytes <= 0) {
      closed_by_server_ = true;
      break;
    }
    bytes.append(buffer, static_cast<size_t>(num_bytes));
  }
  return bytes;
}

std::string RawClient::ReadAll(std::chrono::milliseconds limit) { return ReadUntil("", limit); }

TestServer::TestServer(HttpServerOptions options, HttpJudge judge) {
  server_ = std::make_unique<HttpServer>(
      std::move(options),
      [this](HttpRequest request, std::shared_ptr<ResponseWriter> writer) {
        Handle(std::move(request), std::move(writer));
      },
      [](const HttpRefusal& refusal) {
        return HttpResponse{refusal.status,
                            {{"Content-Type", "application/json"}},
                            "{\"error\":\"" + refusal.message + "\"}"};
      },
      std::move(judge));
  const Result<int> port = server_->Start();
  EXPECT_TRUE(port) << port.error().message;
  port_ = port.value_or(0);
}

TestServer::~TestServer() {
  server_->Stop();
  for (std::thread& thread : threads_) thread.join();
}

std::shared_ptr<ResponseWriter> TestServer::TakeHeld() {
  std::unique_lock lock(mutex_);
  if (!held_.wait_for(lock, std::chrono::seconds(5), [this] { return !held_writers_.empty(); })) {
    return nullptr;
  }
  auto writer = std::move(held_writers_.front());
  held_writers_.erase(held_writers_.begin());
  return writer;
}

void TestServer::Handle(HttpRequest request, std::shared_ptr<ResponseWriter> writer) {
  ++num_requests;
  if (request.path == "/hello") {
    writer->Send({200, {{"Content-Type", "text/plain"}}, "hello"});
  } else if (request.path == "/echo") {
    writer->Send({200, {{"X-Method", request.method}}, std::move(request.body)});
  } else if (request.path == "/query") {
    writer->Send({200, {}, request.query});
  } else if (request.path == "/hold") {
    writer->OnClosed([this] { ++num_closed; });
    std::lock_guard lock(mutex_);
    held_writers_.push_back(std::move(writer));
    held_.notify_all();
  } else if (request.path.starts_with("/stream/")) {
    std::lock_guard lock(mutex_);
    threads_.emplace_back([this, num_events = std::stoi(request.path.substr(8)),
                           writer = std::move(writer)] { StreamEvents(num_events, writer); });
  } else if (request.path == "/drop") {
    writer.reset();
  } else if (request.path == "/throw") {
    throw std::runtime_error("on purpose");
  } else {
    writer->Send({404, {}, "no " + request.path});
  }
}

void TestServer::StreamEvents(int num_events, const std::shared_ptr<ResponseWriter>& writer) {
  writer->OnClosed([this] { ++num_closed; });
  writer->StartStream(200, {{"Content-Type", "text/event-stream"}});
  for (int i = 0; i < num_events; ++i) {
    if (!writer->Write("data: " + std::to_string(i) + "\n\n")) return;
    if (i % 8 == 7) std::this_thread::sleep_for(1ms);
  }
  writer->Finish();
  ++num_finished_streams;
}

}  // namespace lorry::net
