#include "text/worker_process.h"

#include <poll.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include <algorithm>
#include <cerrno>
#include <csignal>

namespace lorry::text {
namespace {

// Between two looks at the clocks.
constexpr int kPollMs = 20;
// A machine may be busy with other things than the worker; a worker that is stopped or sleeps uses
// no processor at all.
constexpr Micros kWallPerCpu = 10;
constexpr size_t kReadBytes = 256 << 10;

}  // namespace

Result<std::unique_ptr<WorkerProcess>> WorkerProcess::Start(
    const std::vector<std::string>& command, const std::vector<std::string>& environment,
    const std::atomic<Micros>& max_cpu_us) {
  ASSIGN_OR_RETURN(ChildProcess process, ChildProcess::Start(command, environment));
  return std::unique_ptr<WorkerProcess>(new WorkerProcess(std::move(process), max_cpu_us));
}

tl::expected<WorkerReply, WorkerEnd> WorkerProcess::Call(WorkerOp op, uint64_t object,
                                                         std::string_view fields,
                                                         const CallBudget& budget) {
  is_used_ = true;
  const RequestHead head = {.size = static_cast<uint32_t>(fields.size()),
                            .op = op,
                            .object = object,
                            .memory_bytes = budget.memory_bytes,
                            .cpu_seconds = static_cast<uint32_t>(budget.cpu_us / 1'000'000 + 2)};
  const std::string_view parts[] = {{reinterpret_cast<const char*>(&head), sizeof(head)}, fields};
  size_t part = 0, sent = 0;
  std::string received;
  size_t wanted = sizeof(ReplyHead);
  const Micros begin_us = Clock::Steady().NowUs();
  const Micros cpu_before_us = process_.CpuTimeUs();
  Micros looked_us = begin_us;
  while (true) {
    while (part < 2 && sent == parts[part].size()) {
      ++part;
      sent = 0;
    }
    if (part == 2 && op == WorkerOp::kDrop) return WorkerReply{};
    pollfd socket = {process_.socket(), static_cast<short>(part < 2 ? POLLIN | POLLOUT : POLLIN),
                     0};
    const int num_ready = poll(&socket, 1, kPollMs);
    const Micros now_us = Clock::Steady().NowUs();
    if (num_ready <= 0 || now_us - looked_us >= kPollMs * 1000) {
      looked_us = now_us;
      const Micros max_cpu_us = std::min(budget.cpu_us, max_cpu_us_.load());
      if (max_cpu_us <= 0) return End(WorkerEnd::kStopped);
      if (process_.CpuTimeUs() - cpu_before_us >= max_cpu_us ||
          now_us - begin_us >= max_cpu_us * kWallPerCpu) {
        return End(max_cpu_us < budget.cpu_us ? WorkerEnd::kStopped : WorkerEnd::kTime);
      }
      if (num_ready <= 0) continue;
    }
    if ((socket.revents & POLLOUT) != 0 && part < 2) {
      const std::string_view rest = parts[part].substr(sent);
      const ssize_t count = send(process_.socket(), rest.data(), rest.size(), MSG_NOSIGNAL);
      if (count > 0) sent += static_cast<size_t>(count);
      if (count < 0 && errno != EAGAIN && errno != EINTR) return End(WhyEnded());
    }
    if ((socket.revents & (POLLIN | POLLHUP | POLLERR)) == 0) continue;
    const size_t before = received.size();
    received.resize(std::min(wanted, before + kReadBytes));
    const ssize_t count =
        recv(process_.socket(), received.data() + before, received.size() - before, 0);
    received.resize(before + static_cast<size_t>(std::max<ssize_t>(count, 0)));
    if (count == 0 || (count < 0 && errno != EAGAIN && errno != EINTR)) return End(WhyEnded());
    if (received.size() < wanted) continue;
    ReplyHead reply;
    std::memcpy(&reply, received.data(), sizeof(reply));
    // An answer before the end of the question is none.
    if (part < 2 || reply.size > budget.max_reply_bytes) return End(WorkerEnd::kCrash);
    wanted = sizeof(reply) + reply.size;
    if (received.size() < wanted) continue;
    received.erase(0, sizeof(reply));
    return WorkerReply{reply.status, reply.held_bytes, std::move(received)};
  }
}

tl::unexpected<WorkerEnd> WorkerProcess::End(WorkerEnd reason) {
  process_.Kill();
  has_ended_ = true;
  return tl::unexpected(reason);
}

// Of a process that closed its socket.
WorkerEnd WorkerProcess::WhyEnded() {
  const int status = process_.Kill();
  if (WIFEXITED(status) && WEXITSTATUS(status) == kExitOutOfMemory) return WorkerEnd::kMemory;
  if (WIFSIGNALED(status) && WTERMSIG(status) == SIGXCPU) return WorkerEnd::kTime;
  return WorkerEnd::kCrash;
}

void WorkerProcess::Keep(const std::shared_ptr<const WorkerObject>& object, uint64_t num_bytes) {
  held_[object->id] = {object, num_bytes, ++num_uses_};
}

void WorkerProcess::Forget(uint64_t max_bytes) {
  uint64_t held_bytes = 0;
  for (const auto& [id, held] : held_) held_bytes += held.num_bytes;
  while (!held_.empty() && !has_ended_) {
    const auto use_of = [](const auto& item) {
      return item.second.object.expired() ? 0 : item.second.last_use;
    };
    const auto oldest =
        std::min_element(held_.begin(), held_.end(),
                         [&](const auto& a, const auto& b) { return use_of(a) < use_of(b); });
    if (use_of(*oldest) != 0 && held_bytes <= max_bytes) return;
    held_bytes -= std::min(held_bytes, oldest->second.num_bytes);
    const CallBudget budget = {.cpu_us = 1'000'000};
    const auto dropped = Call(WorkerOp::kDrop, oldest->first, {}, budget);
    held_.erase(oldest);
    if (!dropped) return;
  }
}

}  // namespace lorry::text
