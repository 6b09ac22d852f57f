// PagePool: one arena of pages of one size, a free list and a reference count for each page.
// KV cache and adapters draw on the same list. KV pages are used where they lie; an adapter's
// weights must be contiguous, so its pages stand for memory of its own elsewhere (docs/decisions,
// "adapter pages"), and their place in the arena is given back to the system meanwhile.
// Owns: the arena.
// Thread: one (the engine's).
// Never: clears a page: a new owner finds what the last one left.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "base/ids.h"
#include "base/result.h"
#include "device/buffer.h"

namespace lorry {

class PagePool {
 public:
  // kResourceExhausted when the system refuses the memory. It becomes resident as pages are
  // written.
  static Result<PagePool> Create(size_t page_bytes, int num_pages);

  std::optional<PageId> Acquire();  // with one reference; none: every page is in use

  // Pages that will not be used in place, each with one reference; those that were never touched
  // first.
  struct Lent {
    std::vector<PageId> pages;
    std::vector<std::span<std::byte>> touched;  // where the arena has memory to give back
  };
  std::optional<Lent> Lend(int num_pages);
  // The borrower has given the touched places back to the system.
  void TakeBack(std::span<const PageId> pages);

  void Share(PageId page);    // one more reference
  void Release(PageId page);  // one less; the last frees the page

  std::byte* arena() const { return arena_.data(); }
  size_t page_bytes() const { return page_bytes_; }
  int num_pages() const { return static_cast<int>(references_.size()); }
  int num_free() const { return static_cast<int>(free_.size()); }
  int num_lent() const { return num_lent_; }
  int num_references(PageId page) const { return references_[page.value]; }

  // Free list and counts agree: each page is either free once or referenced. For tests; walks all
  // pages.
  void CheckInvariants() const;

 private:
  PagePool(Buffer arena, size_t page_bytes, int num_pages);

  Buffer arena_;
  size_t page_bytes_;
  std::vector<int32_t> references_;  // [num_pages]
  std::vector<bool> touched_;        // [num_pages] may hold memory
  int num_lent_ = 0;
  std::vector<PageId> free_;  // a stack: the page used last is still in the caches, the untouched
                              // ones are at the bottom
};

}  // namespace lorry
