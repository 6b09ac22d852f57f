// SequencePages: the page table of one sequence. Page i holds its tokens [i * page_tokens, (i + 1)
// * page_tokens). Owns: a reference to each of its pages. Thread: the pool's.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "pages/page_pool.h"

namespace lorry {

constexpr int PagesForTokens(int num_tokens, int page_tokens) {
  return (num_tokens + page_tokens - 1) / page_tokens;
}

class SequencePages {
 public:
  // `max_tokens`: as long as it can become; the table never allocates after that.
  SequencePages(PagePool* pool, int page_tokens, int max_tokens);
  ~SequencePages() { Release(); }
  SequencePages(SequencePages&& other) noexcept;
  SequencePages& operator=(SequencePages&&) = delete;

  // Makes room for `num_tokens` in all. False, and nothing changed: the pool has too few free
  // pages.
  [[nodiscard]] bool Grow(int num_tokens);
  void Release();  // gives all pages back

  // [num_pages] i32, as attention takes them.
  std::span<const int32_t> table() const { return table_; }
  int num_pages() const { return static_cast<int>(table_.size()); }

 private:
  PagePool* pool_;
  int page_tokens_;
  std::vector<int32_t> table_;
};

}  // namespace lorry
