#include "engine/adapter_copier.h"

#include <sys/mman.h>

#include <algorithm>
#include <chrono>
#include <cstring>
#include <utility>

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

AdapterCopier::AdapterCopier(int num_layers, Done done)
    : num_layers_(num_layers),
      done_(std::move(done)),
      mailbox_(SIZE_MAX),
      thread_([this] { Run(); }) {}

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
  LowerThisThreadsPriority();
  std::vector<Job> jobs;
  while (!stopping_) {
    mailbox_.WaitFor(std::chrono::hours(1));
    mailbox_.Drain(jobs);
    for (Job& job : jobs) {
      if (stopping_) return;
      auto* copy = std::get_if<CopyJob>(&job);
      if (copy != nullptr) {
        const Micros begin_us = Clock::Steady().NowUs();
        AdapterCopied copied = {copy->image->id, DoCopy(*copy)};
        copied.copy_us = Clock::Steady().NowUs() - begin_us;
        done_(std::move(copied));
      }
      job = AdapterCopy();
    }
  }
}

Result<AdapterCopy> AdapterCopier::DoCopy(const CopyJob& job) const {
  for (std::span<std::byte> range : job.touched) GiveBack(range);
  const std::span<const std::byte> blob = job.image->blob;
  AdapterCopy copy;
  copy.num_bytes = blob.size();
  if (!job.image->file) {
    copy.adopted = job.image;
    copy.weights = job.image->weights;
    return copy;
  }
  ASSIGN_OR_RETURN(copy.buffer, Buffer::AllocateUnzeroed(blob.size()));
  std::memcpy(copy.buffer.data(), blob.data(), blob.size());
  copy.weights = adapters::BindWeights(job.image->parts, copy.buffer.data(), num_layers_);
  // The copy is what counts now; the cache file's pages may go.
  job.image->file->ReleasePages(blob);
  return copy;
}

}  // namespace lorry::engine
