#include "adapters/loader_threads.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <utility>

#include "base/background.h"
#include "base/thread_name.h"

namespace lorry::adapters {

LoaderThreads::LoaderThreads(std::string name, int num_threads, std::function<void(int)> on_idle)
    : name_(std::move(name)), num_threads_(num_threads), on_idle_(std::move(on_idle)) {
  lanes_.reserve(static_cast<size_t>(num_threads) * kSlowShare);
}

LoaderThreads::~LoaderThreads() { Stop(); }

uint64_t LoaderThreads::Add(Job job, bool is_urgent, std::string group) {
  const uint64_t number = ++last_number_;
  (is_urgent ? urgent_ : others_).push_back({number, std::move(job), std::move(group)});
  GiveWork();
  return number;
}

void LoaderThreads::Promote(uint64_t number) {
  const auto found = std::find_if(others_.begin(), others_.end(), [number](const Queued& queued) {
    return queued.number == number;
  });
  if (found == others_.end()) return;
  urgent_.push_back(std::move(*found));
  others_.erase(found);
}

void LoaderThreads::Dispatch(int idle_thread_idx) {
  Lane& lane = *lanes_[idle_thread_idx];
  lane.number = 0;
  lane.is_slow = false;
  lane.group.clear();
  GiveWork();
}

void LoaderThreads::MarkSlow(uint64_t number) {
  for (const auto& lane : lanes_) {
    if (lane->number == number) lane->is_slow = true;
  }
  GiveWork();
}

// One group takes three quarters of the places of jobs that are not slow, and as many slow ones as
// there are places.
bool LoaderThreads::MayBegin(const Queued& queued) const {
  if (queued.group.empty()) return true;
  int num_fast = 0, num_all = 0;
  for (const auto& lane : lanes_) {
    if (lane->number == 0 || lane->group != queued.group) continue;
    ++num_all;
    num_fast += !lane->is_slow;
  }
  return num_all < num_threads_ && num_fast < std::max(1, num_threads_ - num_threads_ / 4);
}

std::optional<LoaderThreads::Queued> LoaderThreads::TakeNext() {
  for (std::deque<Queued>* queue : {&urgent_, &others_}) {
    const auto next = std::find_if(queue->begin(), queue->end(),
                                   [this](const Queued& queued) { return MayBegin(queued); });
    if (next == queue->end()) continue;
    Queued taken = std::move(*next);
    queue->erase(next);
    return taken;
  }
  return std::nullopt;
}

// Null: as many jobs run as may.
LoaderThreads::Lane* LoaderThreads::IdleLane() {
  Lane* idle = nullptr;
  int num_fast = 0;
  for (const auto& lane : lanes_) {
    if (lane->number == 0) idle = lane.get();
    num_fast += lane->number != 0 && !lane->is_slow;
  }
  if (num_fast >= num_threads_) return nullptr;
  if (idle != nullptr || static_cast<int>(lanes_.size()) >= num_threads_ * kSlowShare) return idle;
  lanes_.push_back(std::make_unique<Lane>());
  const int thread_idx = static_cast<int>(lanes_.size()) - 1;
  idle = lanes_.back().get();
  idle->thread = std::thread([this, thread_idx, idle] { Run(thread_idx, *idle); });
  return idle;
}

void LoaderThreads::GiveWork() {
  while (!stopping_) {
    Lane* lane = IdleLane();
    if (lane == nullptr) return;
    std::optional<Queued> next = TakeNext();
    if (!next) return;
    lane->number = next->number;
    lane->group = std::move(next->group);
    lane->mailbox.SendAlways(std::move(next->job));
  }
}

void LoaderThreads::Stop() {
  stopping_ = true;
  for (const auto& lane : lanes_) lane->mailbox.Close();
  for (const auto& lane : lanes_) {
    if (lane->thread.joinable()) lane->thread.join();
  }
}

void LoaderThreads::Run(int thread_idx, Lane& lane) {
  NameThisThread(fmt::format("{}-{}", name_, thread_idx).c_str());
  BecomeBackgroundThread();
  std::vector<Job> jobs;
  while (!stopping_) {
    lane.mailbox.WaitFor(std::chrono::hours(1));
    lane.mailbox.Drain(jobs);
    for (Job& job : jobs) {
      if (stopping_) return;
      job();
      job = nullptr;
      on_idle_(thread_idx);
    }
  }
}

}  // namespace lorry::adapters
