#include "base/child_process.h"

#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <utility>

namespace lorry {
namespace {

std::vector<char*> Pointers(const std::vector<std::string>& texts) {
  std::vector<char*> pointers;
  for (const std::string& text : texts) pointers.push_back(const_cast<char*>(text.c_str()));
  pointers.push_back(nullptr);
  return pointers;
}

// What posix_spawn does in the child before the program runs.
class SpawnPlan {
 public:
  explicit SpawnPlan(int child_socket) {
    posix_spawn_file_actions_init(&actions_);
    // The first, since it may be one of the three below. It stays open even onto itself.
    posix_spawn_file_actions_adddup2(&actions_, child_socket, ChildProcess::kSocket);
    posix_spawn_file_actions_addopen(&actions_, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
    posix_spawn_file_actions_addopen(&actions_, STDOUT_FILENO, "/dev/null", O_WRONLY, 0);
    posix_spawn_file_actions_addopen(&actions_, STDERR_FILENO, "/dev/null", O_WRONLY, 0);
    // All of ours close on exec; those that a library forgot to mark close here.
    posix_spawn_file_actions_addclosefrom_np(&actions_, ChildProcess::kSocket + 1);

    sigset_t none, all;
    sigemptyset(&none);
    sigfillset(&all);
    posix_spawnattr_init(&attributes_);
    posix_spawnattr_setsigmask(&attributes_, &none);
    posix_spawnattr_setsigdefault(&attributes_, &all);
    posix_spawnattr_setpgroup(&attributes_, 0);  // Ctrl-C is ours alone
    posix_spawnattr_setflags(
        &attributes_, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETPGROUP);
  }
  SpawnPlan(const SpawnPlan&) = delete;
  SpawnPlan& operator=(const SpawnPlan&) = delete;
  ~SpawnPlan() {
    posix_spawn_file_actions_destroy(&actions_);
    posix_spawnattr_destroy(&attributes_);
  }

  const posix_spawn_file_actions_t* actions() const { return &actions_; }
  const posix_spawnattr_t* attributes() const { return &attributes_; }

 private:
  posix_spawn_file_actions_t actions_;
  posix_spawnattr_t attributes_;
};

}  // namespace

Result<ChildProcess> ChildProcess::Start(const std::vector<std::string>& command,
                                         const std::vector<std::string>& environment) {
  int sockets[2];
  if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sockets) != 0) {
    return Fail(ErrorCode::kResourceExhausted,
                fmt::format("no socket for a process: {}", std::strerror(errno)));
  }
  const SpawnPlan plan(sockets[1]);
  const std::vector<char*> arguments = Pointers(command);
  const std::vector<char*> variables = Pointers(environment);
  pid_t pid = -1;
  const int error = posix_spawn(&pid, command[0].c_str(), plan.actions(), plan.attributes(),
                                arguments.data(), variables.data());
  close(sockets[1]);
  if (error != 0) {
    close(sockets[0]);
    return Fail(ErrorCode::kResourceExhausted, fmt::format("the process {} cannot be started: {}",
                                                           command[0], std::strerror(error)));
  }
  fcntl(sockets[0], F_SETFL, fcntl(sockets[0], F_GETFL) | O_NONBLOCK);
  return ChildProcess(pid, sockets[0]);
}

ChildProcess::ChildProcess(ChildProcess&& other) noexcept
    : pid_(std::exchange(other.pid_, -1)),
      socket_(std::exchange(other.socket_, -1)),
      wait_status_(other.wait_status_) {}

ChildProcess::~ChildProcess() { Kill(); }

Micros ChildProcess::CpuTimeUs() const {
  clockid_t clock;
  timespec time{};
  if (pid_ < 0 || clock_getcpuclockid(pid_, &clock) != 0 || clock_gettime(clock, &time) != 0) {
    return 0;
  }
  return Micros{time.tv_sec} * 1'000'000 + time.tv_nsec / 1000;
}

int ChildProcess::Kill() {
  if (socket_ >= 0) close(std::exchange(socket_, -1));
  if (pid_ < 0) return wait_status_;
  kill(pid_, SIGKILL);  // of one that has ended it changes nothing
  while (waitpid(pid_, &wait_status_, 0) < 0 && errno == EINTR) {
  }
  pid_ = -1;
  return wait_status_;
}

}  // namespace lorry
