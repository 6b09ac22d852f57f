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

// A request on its way to a worker, and the reply on its way back.
class RoundTrip {
 public:
  enum class Step { kGoesOn, kDone, kGone, kNonsense };

  RoundTrip(int socket, const RequestHead& head, std::string_view fields, size_t max_reply_bytes)
      : socket_(socket),
        request_head_(reinterpret_cast<const char*>(&head), sizeof(head)),
        fields_(fields),
        wants_reply_(head.op != WorkerOp::kDrop),
        max_reply_bytes_(max_reply_bytes) {}

  // What can be done now, or after a wait of kPollMs at most.
  Step Go() {
    const bool sends = !is_sent();
    pollfd socket = {socket_, static_cast<short>(sends ? POLLIN | POLLOUT : POLLIN), 0};
    if (poll(&socket, 1, kPollMs) <= 0) return Step::kGoesOn;
    if (sends && (socket.revents & POLLOUT) != 0 && !Send()) return Step::kGone;
    if (is_sent() && !wants_reply_) return Step::kDone;
    if ((socket.revents & (POLLIN | POLLHUP | POLLERR)) == 0) return Step::kGoesOn;
    return Receive();
  }

  WorkerReply TakeReply() {
    received_.erase(0, sizeof(ReplyHead));
    return {head_.status, head_.held_bytes, std::move(received_)};
  }

 private:
  bool is_sent() const { return num_head_sent_ == request_head_.size() && fields_.empty(); }

  bool Send() {
    const bool is_head = num_head_sent_ < request_head_.size();
    const std::string_view rest =
        is_head ? std::string_view(request_head_).substr(num_head_sent_) : fields_;
    const ssize_t count = send(socket_, rest.data(), rest.size(), MSG_NOSIGNAL);
    if (count < 0) return errno == EAGAIN || errno == EINTR;
    if (is_head) {
      num_head_sent_ += static_cast<size_t>(count);
    } else {
      fields_.remove_prefix(static_cast<size_t>(count));
    }
    return true;
  }

  Step Receive() {
    const size_t before = received_.size();
    received_.resize(std::min(wanted_, before + kReadBytes));
    const ssize_t count = recv(socket_, received_.data() + before, received_.size() - before, 0);
    received_.resize(before + static_cast<size_t>(std::max<ssize_t>(count, 0)));
    if (count == 0) return Step::kGone;
    if (count < 0) return errno == EAGAIN || errno == EINTR ? Step::kGoesOn : Step::kGone;
    if (received_.size() < wanted_) return Step::kGoesOn;
    if (wanted_ > sizeof(head_)) return Step::kDone;
    std::memcpy(&head_, received_.data(), sizeof(head_));
    // An answer before the end of the question is none.
    if (!is_sent() || head_.size > max_reply_bytes_) return Step::kNonsense;
    wanted_ += head_.size;
    return head_.size == 0 ? Step::kDone : Step::kGoesOn;
  }

  const int socket_;
  const std::string request_head_;
  size_t num_head_sent_ = 0;
  std::string_view fields_;  // what of them is not sent
  const bool wants_reply_;
  const size_t max_reply_bytes_;
  ReplyHead head_;
  size_t wanted_ = sizeof(head_);
  std::string received_;
};

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
  RoundTrip round_trip(process_.socket(), head, fields, budget.max_reply_bytes);
  const Micros begin_us = Clock::Steady().NowUs();
  const Micros cpu_before_us = process_.CpuTimeUs();
  Micros looked_us = begin_us;
  while (true) {
    switch (round_trip.Go()) {
      case RoundTrip::Step::kDone:
        return round_trip.TakeReply();
      case RoundTrip::Step::kGone:
        return End(WhyEnded());
      case RoundTrip::Step::kNonsense:
        return End(WorkerEnd::kCrash);
      case RoundTrip::Step::kGoesOn:
        break;
    }
    const Micros now_us = Clock::Steady().NowUs();
    if (now_us - looked_us < kPollMs * 1000) continue;
    looked_us = now_us;
    const Micros max_cpu_us = std::min(budget.cpu_us, max_cpu_us_.load());
    if (process_.CpuTimeUs() - cpu_before_us >= max_cpu_us ||
        now_us - begin_us >= max_cpu_us * kWallPerCpu) {
      return End(max_cpu_us < budget.cpu_us ? WorkerEnd::kStopped : WorkerEnd::kTime);
    }
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

bool WorkerProcess::HoldsGone() const {
  return std::ranges::any_of(held_, [](const auto& item) { return item.second.object.expired(); });
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
