// LoaderThreads: a few threads of low priority that wait for disks and sockets on others' behalf.
// Jobs that a request waits for go first. Owns: the threads, and a mailbox of each. Thread: Add and
// Promote from one (the catalogue's).
#pragma once

#include <atomic>
#include <deque>
#include <functional>
#include <memory>
#include <thread>
#include <vector>

#include "base/mailbox.h"

namespace lorry::adapters {

class LoaderThreads {
 public:
  using Job = std::function<void(const std::atomic<bool>& cancelled)>;

  // `on_idle` is called on the loader's thread when it has done a job; Dispatch must follow.
  LoaderThreads(int num_threads, std::function<void(int thread_idx)> on_idle);
  ~LoaderThreads();  // Stop

  void Add(Job job, bool is_urgent);
  void Dispatch(int idle_thread_idx);
  // Tells running jobs that they are cancelled, drops the others, waits.
  void Stop();

 private:
  struct Lane {
    Mailbox<Job> mailbox{SIZE_MAX};
    std::thread thread;
    bool is_idle = true;
  };

  void Run(int thread_idx);
  void GiveWork();

  const std::function<void(int)> on_idle_;
  std::vector<std::unique_ptr<Lane>> lanes_;
  std::deque<Job> urgent_, others_;
  std::atomic<bool> stopping_ = false;
};

}  // namespace lorry::adapters
