// Identity of an adapter: SHA-256 of the files that decide its answers, cut to the 128 bits of an
// AdapterId. Equal content is the same adapter under any name, and nobody can make another adapter
// that passes for a given one. A long file counts as the SHA-256 of each of its leaves of 256 KiB
// (a Merkle tree of two levels), so that several threads can hash it.
// Owns: nothing, but a pending hash copies of its texts. Thread: any.
#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <string_view>

#include "base/ids.h"

namespace lorry::formats {

struct ContentPart {
  std::string_view name;  // of the file
  std::span<const std::byte> bytes;
};

// Of the parts in the order given, their names included. Never the all-zero id, which stands for
// the base model.
AdapterId HashAdapterContent(std::span<const ContentPart> parts);

// The same, on threads of its own beside whoever made it.
class PendingContentHash {
 public:
  // Of the texts, which are copied, and then the file, whose bytes must outlive it.
  PendingContentHash(std::span<const ContentPart> texts, const ContentPart& file);
  ~PendingContentHash();  // gives up what nobody has begun
  PendingContentHash(PendingContentHash&&) = default;
  PendingContentHash& operator=(PendingContentHash&&) = delete;  // would not wait

  // Helps until it is done.
  AdapterId Get() const;

 private:
  struct State;
  std::shared_ptr<State> state_;
};

}  // namespace lorry::formats
