// LoaderThreads: a few threads of low priority that do one kind of slow work on others' behalf:
// wait for sources, prepare adapters, write files. Jobs that a request waits for go first.
// A job may belong to a group, all that wait for one host. A group leaves some threads to the
// others, and a job that turns out slow no longer takes the place of one that is not: another
// thread does the next job in its stead, up to kSlowShare times as many in all.
// Owns: the threads, and a mailbox of each.
// Thread: Add, Promote, MarkSlow and Dispatch from one (the catalogue's).
// Never: ends a job before its time; who stops cancels them first.
#pragma once

#include <atomic>
#include <deque>
#include <functional>
#include <memory>
#include <optional>
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
  uint64_t Add(Job job, bool is_urgent, std::string group = {});
  // A job that has not begun becomes urgent; others are as they are.
  void Promote(uint64_t number);
  void Dispatch(int idle_thread_idx);
  // A job that runs goes on, beside those that others may run meanwhile.
  void MarkSlow(uint64_t number);
  // Drops what has not begun and waits for the rest.
  void Stop();

 private:
  static constexpr int kSlowShare = 4;

  struct Queued {
    uint64_t number;
    Job job;
    std::string group;
  };
  struct Lane {
    Mailbox<Job> mailbox{SIZE_MAX};
    std::thread thread;
    uint64_t number = 0;  // of the job; 0: idle
    bool is_slow = false;
    std::string group;
  };

  void Run(int thread_idx, Lane& lane);
  void GiveWork();
  bool MayBegin(const Queued& queued) const;
  std::optional<Queued> TakeNext();
  Lane* IdleLane();

  const std::string name_;
  const int num_threads_;
  const std::function<void(int)> on_idle_;
  std::vector<std::unique_ptr<Lane>> lanes_;
  std::deque<Queued> urgent_;
  std::deque<Queued> others_;
  uint64_t last_number_ = 0;
  std::atomic<bool> stopping_ = false;
};

}  // namespace lorry::adapters
