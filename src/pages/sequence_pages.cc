#include "pages/sequence_pages.h"

#include <utility>

#include "base/check.h"

namespace lorry {

SequencePages::SequencePages(PagePool* pool, int page_tokens, int max_tokens)
    : pool_(pool), page_tokens_(page_tokens) {
  table_.reserve(PagesForTokens(max_tokens, page_tokens));
}

SequencePages::SequencePages(SequencePages&& other) noexcept
    : pool_(other.pool_),
      page_tokens_(other.page_tokens_),
      table_(std::exchange(other.table_, {})) {}

bool SequencePages::Grow(int num_tokens) {
  const int num_more = PagesForTokens(num_tokens, page_tokens_) - num_pages();
  if (num_more > pool_->num_free()) return false;
  for (int i = 0; i < num_more; ++i) {
    const auto page = pool_->Acquire();
    CHECK(page.has_value());
    table_.push_back(page->value);
  }
  return true;
}

void SequencePages::Release() {
  // Backwards, so that the next owner gets them in the same order.
  while (!table_.empty()) {
    pool_->Release(PageId{table_.back()});
    table_.pop_back();
  }
}

}  // namespace lorry
