// A process of ours that is spoken to over a socket: started, watched, ended.
// Owns: the process, which ends with this, and our end of the socket.
// Thread: one at a time.
// Never: gives the child a descriptor of ours, our environment, or our terminal's signals.
#pragma once

#include <sys/types.h>

#include <string>
#include <vector>

#include "base/clock.h"
#include "base/result.h"

namespace lorry {

class ChildProcess {
 public:
  static constexpr int kSocket = 3;  // the child's descriptor of the socket

  // `command`: a program's path and its arguments; `environment`: "NAME=value", all that it gets.
  static Result<ChildProcess> Start(const std::vector<std::string>& command,
                                    const std::vector<std::string>& environment);

  ChildProcess(ChildProcess&& other) noexcept;
  ChildProcess& operator=(ChildProcess&&) = delete;
  ~ChildProcess();  // killed

  int socket() const { return socket_; }  // ours, does not block
  pid_t pid() const { return pid_; }

  // Processor time of all its threads so far.
  Micros CpuTimeUs() const;

  // The end, by force if it is still there. How it ended, as waitpid says it.
  int Kill();

 private:
  ChildProcess(pid_t pid, int socket) : pid_(pid), socket_(socket) {}

  pid_t pid_;  // -1: ended
  int socket_;
  int wait_status_ = 0;
};

}  // namespace lorry
