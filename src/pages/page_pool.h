// PagePool: one arena of pages of one size, a free list and a reference count for each page.
// Owns: the arena.
// Thread: one (the engine's).
// Never: allocates after Create, or clears a page: a new owner finds what the last one left.
#pragma once

#include <cstdint>
#include <optional>
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
  void Share(PageId page);          // one more reference
  void Release(PageId page);        // one less; the last frees the page

  std::byte* arena() const { return arena_.data(); }
  size_t page_bytes() const { return page_bytes_; }
  int num_pages() const { return static_cast<int>(references_.size()); }
  int num_free() const { return static_cast<int>(free_.size()); }
  int num_references(PageId page) const { return references_[page.value]; }

  // Free list and counts agree: each page is either free once or referenced. For tests; walks all
  // pages.
  void CheckInvariants() const;

 private:
  PagePool(Buffer arena, size_t page_bytes, int num_pages);

  Buffer arena_;
  size_t page_bytes_;
  std::vector<int32_t> references_;  // [num_pages]
  std::vector<PageId> free_;         // a stack: the page used last is still in the caches
};

}  // namespace lorry
