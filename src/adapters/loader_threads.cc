#include "adapters/loader_threads.h"

#include <fmt/format.h>

#include <chrono>
#include <utility>

#include "base/thread_name.h"

namespace lorry::adapters {

LoaderThreads::LoaderThreads(int num_threads, std::function<void(int)> on_idle)
    : on_idle_(std::move(on_idle)) {
  for (int i = 0; i < num_threads; ++i) lanes_.push_back(std::make_unique<Lane>());
  for (int i = 0; i < num_threads; ++i) lanes_[i]->thread = std::thread([this, i] { Run(i); });
}

LoaderThreads::~LoaderThreads() { Stop(); }

void LoaderThreads::Add(Job job, bool is_urgent) {
  (is_urgent ? urgent_ : others_).push_back(std::move(job));
  GiveWork();
}

void LoaderThreads::Dispatch(int idle_thread_idx) {
  lanes_[idle_thread_idx]->is_idle = true;
  GiveWork();
}

void LoaderThreads::GiveWork() {
  for (const auto& lane : lanes_) {
    std::deque<Job>& queue = urgent_.empty() ? others_ : urgent_;
    if (queue.empty()) return;
    if (!lane->is_idle) continue;
    lane->is_idle = false;
    lane->mailbox.SendAlways(std::move(queue.front()));
    queue.pop_front();
  }
}

void LoaderThreads::Stop() {
  stopping_ = true;
  for (const auto& lane : lanes_) lane->mailbox.Close();
  for (const auto& lane : lanes_) {
    if (lane->thread.joinable()) lane->thread.join();
  }
}

void LoaderThreads::Run(int thread_idx) {
  NameThisThread(fmt::format("loader-{}", thread_idx).c_str());
  LowerThisThreadsPriority();
  std::vector<Job> jobs;
  while (!stopping_) {
    lanes_[thread_idx]->mailbox.WaitFor(std::chrono::hours(1));
    lanes_[thread_idx]->mailbox.Drain(jobs);
    for (Job& job : jobs) {
      if (stopping_) return;
      job(stopping_);
      job = nullptr;
      on_idle_(thread_idx);
    }
  }
}

}  // namespace lorry::adapters
