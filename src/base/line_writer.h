// Lines on their way to a descriptor whose reader may stall: whoever writes one never waits for it.
// Owns: the thread that writes, and the lines that wait.
// Thread: any. Of a forked child too: it has no such thread, so its lines are written at once.
// Never: keeps more than two buffers of max_waiting_bytes.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <mutex>
#include <string>
#include <string_view>
#include <thread>

namespace lorry {

class LineWriter {
 public:
  struct Options {
    int descriptor = -1;  // stays the caller's
    // Beside what is being written. What comes beyond is dropped until the next buffer is taken.
    size_t max_waiting_bytes = 0;
    // The line that stands where so many were dropped.
    std::function<std::string(uint64_t num_dropped)> note;
  };

  explicit LineWriter(Options options);
  ~LineWriter();  // when all that waits is written, however long the reader takes

  void Write(std::string_view line);  // ends with '\n'

  // False: what had been written before the call was not yet taken after `limit`.
  bool Flush(std::chrono::milliseconds limit);

  // Of all lines so far; for want of room, or since the descriptor refused them.
  uint64_t num_dropped() const;

 private:
  void Run();
  bool HasThreadHere() const;

  const Options options_;
  pid_t thread_pid_ = -1;  // the process that has the thread; -1: none has
  mutable std::mutex mutex_;
  std::condition_variable added_;
  std::condition_variable done_;
  // Under the mutex.
  std::string waiting_;
  std::string writing_;  // the thread's own while it writes
  bool is_full_ = false;
  bool ends_ = false;
  uint64_t num_added_ = 0;    // lines
  uint64_t num_done_ = 0;     // of those
  uint64_t num_dropped_ = 0;  // lines
  uint64_t num_unsaid_ = 0;   // of those, the ones that no note has told of
  std::thread thread_;
};

}  // namespace lorry
