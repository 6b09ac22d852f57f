// For tests: an adapter's archive behind HTTP that nobody gets before the gate opens.
// Owns: a listening socket on the loopback and a thread for each connection.
#pragma once

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

namespace lorry::adapters {

class GatedSource {
 public:
  explicit GatedSource(std::string archive) : archive_(std::move(archive)) {
    socket_ = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof(address);
    ::bind(socket_, reinterpret_cast<sockaddr*>(&address), size);
    ::listen(socket_, 64);
    ::getsockname(socket_, reinterpret_cast<sockaddr*>(&address), &size);
    port_ = ntohs(address.sin_port);
    acceptor_ = std::thread([this] { Accept(); });
  }
  ~GatedSource() {
    is_ending_ = true;
    ::shutdown(socket_, SHUT_RDWR);
    acceptor_.join();
    for (std::thread& connection : connections_) connection.join();
    ::close(socket_);
  }

  std::string Url(const std::string& name = "adapter.zip") const {
    return "http://127.0.0.1:" + std::to_string(port_) + "/" + name;
  }
  void Open() { is_open_ = true; }
  int num_asked() const { return num_asked_; }
  int num_hung_up() const { return num_hung_up_; }  // while they waited for the gate

 private:
  void Accept() {
    for (int fd = 0; (fd = ::accept(socket_, nullptr, nullptr)) >= 0;) {
      connections_.emplace_back([this, fd] { Serve(fd); });
    }
  }
  void Serve(int fd) {
    std::string request(8192, '\0');
    request.resize(std::max<ssize_t>(::recv(fd, request.data(), request.size(), 0), 0));
    ++num_asked_;
    char next = 0;
    while (!is_open_ && !is_ending_) {
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
      if (::recv(fd, &next, 1, MSG_PEEK | MSG_DONTWAIT) != 0) continue;
      ++num_hung_up_;
      break;
    }
    std::string answer = "HTTP/1.1 200 OK\r\nConnection: close\r\nETag: \"1\"\r\nContent-Length: " +
                         std::to_string(archive_.size()) + "\r\n\r\n";
    if (request.starts_with("GET")) answer += archive_;
    if (!is_ending_) ::send(fd, answer.data(), answer.size(), MSG_NOSIGNAL);
    ::close(fd);
  }

  const std::string archive_;
  int socket_ = -1;
  int port_ = 0;
  std::atomic<bool> is_open_ = false, is_ending_ = false;
  std::atomic<int> num_asked_ = 0, num_hung_up_ = 0;
  std::thread acceptor_;
  std::vector<std::thread> connections_;
};

}  // namespace lorry::adapters
