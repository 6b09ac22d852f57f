#include "adapters/loader_threads.h"

#include <fmt/format.h>

#include <chrono>
#include <utility>

#include "base/background.h"
#include "base/thread_name.h"

namespace lorry::adapters {

LoaderThreads::LoaderThreads(std::string name, int num_threads, std::function<void(int)> on_idle)
    : name_(std::move(name)), on_idle_(std::move(on_idle)) {
  for (int i = 0; i < num_threads; ++i) lanes_.push_back(std::make_unique<Lane>());
  for (int i = 0; i < num_threads; ++i) lanes_[i]->thread = std::thread([this, i] { Run(i); });
}

LoaderThreads::~LoaderThreads() { Stop(); }

uint64_t LoaderThreads::Add(Job job, bool is_urgent) {
  const uint64_t number = ++last_number_;
  if (is_urgent) {
    urgent_.push_back(std::move(job));
  } else {
    others_.emplace(number, std::move(job));
  }
  GiveWork();
  return number;
}

void LoaderThreads::Promote(uint64_t number) {
  auto job = others_.extract(number);
  if (!job.empty()) urgent_.push_back(std::move(job.mapped()));
}

void LoaderThreads::Dispatch(int idle_thread_idx) {
  lanes_[idle_thread_idx]->is_idle = true;
  GiveWork();
}

void LoaderThreads::GiveWork() {
  for (const auto& lane : lanes_) {
    if (urgent_.empty() && others_.empty()) return;
    if (!lane->is_idle) continue;
    lane->is_idle = false;
    lane->mailbox.SendAlways(TakeNext());
  }
}

LoaderThreads::Job LoaderThreads::TakeNext() {
  if (urgent_.empty()) return std::move(others_.extract(others_.begin()).mapped());
  Job job = std::move(urgent_.front());
  urgent_.pop_front();
  return job;
}

void LoaderThreads::Stop() {
  stopping_ = true;
  for (const auto& lane : lanes_) lane->mailbox.Close();
  for (const auto& lane : lanes_) {
    if (lane->thread.joinable()) lane->thread.join();
  }
}

void LoaderThreads::Run(int thread_idx) {
  NameThisThread(fmt::format("{}-{}", name_, thread_idx).c_str());
  BecomeBackgroundThread();
  std::vector<Job> jobs;
  while (!stopping_) {
    lanes_[thread_idx]->mailbox.WaitFor(std::chrono::hours(1));
    lanes_[thread_idx]->mailbox.Drain(jobs);
    for (Job& job : jobs) {
      if (stopping_) return;
      job();
      job = nullptr;
      on_idle_(thread_idx);
    }
  }
}

}  // namespace lorry::adapters
