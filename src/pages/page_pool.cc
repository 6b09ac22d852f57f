#include "pages/page_pool.h"

#include "base/check.h"

namespace lorry {

Result<PagePool> PagePool::Create(size_t page_bytes, int num_pages) {
  CHECK_LT(0u, page_bytes);
  CHECK_LT(0, num_pages);
  auto arena = Buffer::Allocate(page_bytes * num_pages);
  if (!arena) return Annotate(std::move(arena.error()), "KV cache");
  return PagePool(std::move(*arena), page_bytes, num_pages);
}

PagePool::PagePool(Buffer arena, size_t page_bytes, int num_pages)
    : arena_(std::move(arena)),
      page_bytes_(page_bytes),
      references_(num_pages, 0),
      touched_(num_pages, false) {
  free_.reserve(num_pages);
  for (int page = num_pages - 1; page >= 0; --page) free_.push_back(PageId{page});
}

std::optional<PageId> PagePool::Acquire() {
  if (free_.empty()) return std::nullopt;
  const PageId page = free_.back();
  free_.pop_back();
  references_[page.value] = 1;
  touched_[page.value] = true;
  return page;
}

std::optional<PagePool::Lent> PagePool::Lend(int num_pages) {
  if (num_pages > num_free()) return std::nullopt;
  Lent lent;
  lent.pages.assign(free_.begin(), free_.begin() + num_pages);
  free_.erase(free_.begin(), free_.begin() + num_pages);
  for (PageId page : lent.pages) {
    references_[page.value] = 1;
    if (!touched_[page.value]) continue;
    lent.touched.emplace_back(arena() + page.value * page_bytes_, page_bytes_);
    touched_[page.value] = false;
  }
  num_lent_ += num_pages;
  return lent;
}

void PagePool::TakeBack(std::span<const PageId> pages) {
  for (PageId page : pages) {
    CHECK_EQ(1, references_[page.value]);
    CHECK(!touched_[page.value]);
    references_[page.value] = 0;
  }
  free_.insert(free_.begin(), pages.begin(), pages.end());
  num_lent_ -= static_cast<int>(pages.size());
  CHECK_GE(num_lent_, 0);
}

void PagePool::Share(PageId page) {
  CHECK_LT(0, references_[page.value]);
  ++references_[page.value];
}

void PagePool::Release(PageId page) {
  CHECK_LT(0, references_[page.value]);
  if (--references_[page.value] == 0) free_.push_back(page);
}

void PagePool::CheckInvariants() const {
  std::vector<bool> is_free(references_.size(), false);
  for (PageId page : free_) {
    CHECK_GE(page.value, 0);
    CHECK_LT(page.value, num_pages());
    CHECK_MSG(!is_free[page.value], "page {} is free twice", page.value);
    is_free[page.value] = true;
  }
  for (int page = 0; page < num_pages(); ++page) {
    CHECK_MSG(is_free[page] == (references_[page] == 0), "page {} has {} references, free: {}",
              page, references_[page], bool{is_free[page]});
    CHECK_GE(references_[page], 0);
  }
}

}  // namespace lorry
