#include "base/line_writer.h"

#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <system_error>
#include <utility>

#include "base/thread_name.h"

namespace lorry {
namespace {

// As many lines as one call writes whole to a pipe that other processes write to as well.
std::string_view FirstLines(std::string_view lines) {
  if (lines.size() <= PIPE_BUF) return lines;
  const size_t end = lines.rfind('\n', PIPE_BUF - 1);
  return lines.substr(0, end == std::string_view::npos ? lines.find('\n') + 1 : end + 1);
}

// How many of the lines the descriptor refused.
uint64_t WriteAll(int descriptor, std::string_view lines) {
  while (!lines.empty()) {
    const std::string_view chunk = FirstLines(lines);
    const ssize_t count = ::write(descriptor, chunk.data(), chunk.size());
    if (count > 0) {
      lines.remove_prefix(static_cast<size_t>(count));
    } else if (count < 0 && errno == EAGAIN) {  // whoever started us wants it so
      pollfd room = {descriptor, POLLOUT, 0};
      poll(&room, 1, -1);
    } else if (count == 0 || errno != EINTR) {
      return static_cast<uint64_t>(std::count(lines.begin(), lines.end(), '\n'));
    }
  }
  return 0;
}

// The process's signals are other threads'; a reader that has gone is an error of the write.
void BlockSignals() {
  sigset_t all;
  sigfillset(&all);
  pthread_sigmask(SIG_BLOCK, &all, nullptr);
}

}  // namespace

LineWriter::LineWriter(Options options) : options_(std::move(options)) {
  // Memory that no line touches costs nothing, and logging needs none when there is none left.
  waiting_.reserve(options_.max_waiting_bytes);
  writing_.reserve(options_.max_waiting_bytes);
  try {
    thread_ = std::thread([this] { Run(); });
    thread_pid_ = getpid();
  } catch (const std::system_error&) {  // no thread to be had: lines are written at once
  }
}

LineWriter::~LineWriter() {
  if (!thread_.joinable()) return;
  {
    const std::lock_guard lock(mutex_);
    ends_ = true;
  }
  added_.notify_one();
  thread_.join();
}

bool LineWriter::HasThreadHere() const { return thread_pid_ == getpid(); }

void LineWriter::Write(std::string_view line) {
  if (!HasThreadHere()) {
    WriteAll(options_.descriptor, line);
    return;
  }
  {
    const std::lock_guard lock(mutex_);
    is_full_ = is_full_ ||
               (!waiting_.empty() && waiting_.size() + line.size() > options_.max_waiting_bytes);
    if (is_full_) {  // also for a shorter line: what is missing is missing in one place
      ++num_dropped_;
      ++num_unsaid_;
      return;
    }
    waiting_ += line;
    ++num_added_;
  }
  added_.notify_one();
}

bool LineWriter::Flush(std::chrono::milliseconds limit) {
  if (!HasThreadHere()) return true;
  std::unique_lock lock(mutex_);
  return done_.wait_for(lock, limit, [this, end = num_added_] { return num_done_ >= end; });
}

uint64_t LineWriter::num_dropped() const {
  if (!HasThreadHere()) return 0;
  const std::lock_guard lock(mutex_);
  return num_dropped_;
}

void LineWriter::Run() {
  NameThisThread("log");
  BlockSignals();
  std::unique_lock lock(mutex_);
  while (true) {
    added_.wait(lock, [this] { return !waiting_.empty() || ends_; });
    if (waiting_.empty()) return;
    std::swap(waiting_, writing_);
    const uint64_t num_taken = num_added_;
    const uint64_t num_missing = std::exchange(num_unsaid_, 0);
    is_full_ = false;
    lock.unlock();
    const uint64_t num_refused = WriteAll(options_.descriptor, writing_);
    const bool is_told =
        num_missing == 0 || WriteAll(options_.descriptor, options_.note(num_missing)) == 0;
    writing_.clear();
    lock.lock();
    num_done_ = num_taken;
    num_dropped_ += num_refused;
    num_unsaid_ += num_refused + (is_told ? 0 : num_missing);
    done_.notify_all();
  }
}

}  // namespace lorry
