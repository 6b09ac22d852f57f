#include "engine/adapter_copier.h"

#include <sys/mman.h>

#include <algorithm>
#include <chrono>
#include <cstring>
#include <utility>

#include "base/background.h"
#include "base/thread_name.h"

namespace lorry::engine {
namespace {

// What lies wholly inside `range` leaves resident memory, and reads as zeros when it comes back.
void GiveBack(std::span<std::byte> range) {
  constexpr uintptr_t kSystemPage = 4096;
  const auto begin = reinterpret_cast<uintptr_t>(range.data());
  const uintptr_t first = (begin + kSystemPage - 1) / kSystemPage * kSystemPage;
  const uintptr_t last = (begin + range.size()) / kSystemPage * kSystemPage;
  if (first < last) madvise(reinterpret_cast<void*>(first), last - first, MADV_DONTNEED);
}

}  // namespace

AdapterCopier::AdapterCopier(Done done)
    : done_(std::move(done)), mailbox_(SIZE_MAX), thread_([this] { Run(); }) {}

AdapterCopier::~AdapterCopier() {
  stopping_ = true;
  mailbox_.Close();
  thread_.join();
}

void AdapterCopier::Copy(std::shared_ptr<const adapters::AdapterImage> image,
                         std::vector<std::span<std::byte>> touched) {
  mailbox_.SendAlways(CopyJob{std::move(image), std::move(touched)});
}

void AdapterCopier::Free(AdapterCopy copy) { mailbox_.SendAlways(std::move(copy)); }

void AdapterCopier::Run() {
  NameThisThread("adapter-copier");
  BecomeBackgroundThread();
  std::vector<Job> jobs;
  while (!stopping_) {
    mailbox_.WaitFor(std::chrono::hours(1));
    mailbox_.Drain(jobs);
    for (Job& job : jobs) {
      if (stopping_) return;
      auto* copy = std::get_if<CopyJob>(&job);
      if (copy != nullptr) {
        const Micros begin_us = Clock::Steady().NowUs();
        const AdapterId id = copy->image->id;
        AdapterCopied copied = {id, DoCopy(*copy)};
        copied.copy_us = Clock::Steady().NowUs() - begin_us;
        done_(std::move(copied));
      }
      job = AdapterCopy();
    }
  }
}

AdapterCopy AdapterCopier::DoCopy(CopyJob& job) {
  for (std::span<std::byte> range : job.touched) GiveBack(range);
  return {std::move(job.image)};
}

}  // namespace lorry::engine
