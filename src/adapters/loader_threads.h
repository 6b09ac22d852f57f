// LoaderThreads: a few threads of low priority that do one kind of slow work on others' behalf:
// wait for sources, prepare adapters, write files. Jobs that a request waits for go first. Owns:
// the threads, and a mailbox of each. Thread: Add, Promote and Dispatch from one (the catalogue's).
// Never: ends a job before its time; who stops cancels them first.
#pragma once

#include <atomic>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "base/mailbox.h"

namespace lorry::adapters {

class LoaderThreads {
 public:
  using Job = std::function<void()>;

  // `on_idle` is called on the loader's thread when it has done a job; Dispatch must follow.
  LoaderThreads(std::string name, int num_threads, std::function<void(int thread_idx)> on_idle);
  ~LoaderThreads();  // Stop

  // Its number is for Promote.
  uint64_t Add(Job job, bool is_urgent);
  // A job that has not begun becomes urgent; others are as they are.
  void Promote(uint64_t number);
  void Dispatch(int idle_thread_idx);
  // Drops what has not begun and waits for the rest.
  void Stop();

 private:
  struct Lane {
    Mailbox<Job> mailbox{SIZE_MAX};
    std::thread thread;
    bool is_idle = true;
  };

  void Run(int thread_idx);
  void GiveWork();
  Job TakeNext();

  const std::string name_;
  const std::function<void(int)> on_idle_;
  std::vector<std::unique_ptr<Lane>> lanes_;
  std::deque<Job> urgent_;
  std::map<uint64_t, Job> others_;  // in their order
  uint64_t last_number_ = 0;
  std::atomic<bool> stopping_ = false;
};

}  // namespace lorry::adapters
