// AdapterCopier: brings adapters from the host into memory of the pool's, off the engine thread.
// On the CPU both are the same memory: an image is adopted as it lies, and what takes time is to
// give the pages that it stands for back to the system.
// Owns: one thread of low priority. Thread: all methods from the engine's; `done` is called on the
// copier's.
// Never: touches the page pool's books; it only gives memory back where the engine says so.
#pragma once

#include <functional>
#include <memory>
#include <span>
#include <thread>
#include <variant>
#include <vector>

#include "adapters/adapter_image.h"
#include "base/clock.h"
#include "base/mailbox.h"

namespace lorry::engine {

// What a request's handle is: the adapters' side makes images only.
inline std::shared_ptr<const adapters::AdapterImage> ImageOf(
    std::shared_ptr<const AdapterHandle> handle) {
  return std::static_pointer_cast<const adapters::AdapterImage>(std::move(handle));
}

// An adapter's memory in the pool.
struct AdapterCopy {
  std::shared_ptr<const adapters::AdapterImage> image;  // null: none yet
  size_t num_bytes() const { return image == nullptr ? 0 : image->blob.size(); }
};

struct AdapterCopied {
  AdapterId id;
  Result<AdapterCopy> copy;
  Micros copy_us = 0;
};

class AdapterCopier {
 public:
  using Done = std::function<void(AdapterCopied)>;

  explicit AdapterCopier(Done done);
  ~AdapterCopier();  // drops what has not begun

  // Gives `touched` back to the system first.
  void Copy(std::shared_ptr<const adapters::AdapterImage> image,
            std::vector<std::span<std::byte>> touched);
  // Unmapping takes its time too.
  void Free(AdapterCopy copy);

 private:
  struct CopyJob {
    std::shared_ptr<const adapters::AdapterImage> image;
    std::vector<std::span<std::byte>> touched;
  };
  using Job = std::variant<CopyJob, AdapterCopy>;

  void Run();
  static AdapterCopy DoCopy(CopyJob& job);

  const Done done_;
  Mailbox<Job> mailbox_;
  std::atomic<bool> stopping_ = false;
  std::thread thread_;
};

}  // namespace lorry::engine
