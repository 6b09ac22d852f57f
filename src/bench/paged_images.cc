#include "bench/paged_images.h"

#include <algorithm>
#include <cstring>
#include <numeric>
#include <random>

namespace lorry::bench {
namespace {

constexpr uint64_t kAlignment = 64;

// Moves the parts into pages counted from `next_page`, in their order; returns the page after.
Result<size_t> Place(std::vector<adapters::AdapterPart>& parts, size_t page_bytes,
                     size_t next_page) {
  uint64_t used = page_bytes;  // of the page before next_page
  for (adapters::AdapterPart& part : parts) {
    const uint64_t num_bytes = (part.num_bytes + kAlignment - 1) / kAlignment * kAlignment;
    if (num_bytes > page_bytes) {
      return Fail(ErrorCode::kTooLarge,
                  fmt::format("a part of {} bytes is longer than a page of {}", part.num_bytes,
                              page_bytes));
    }
    if (used + num_bytes > page_bytes) {
      ++next_page;
      used = 0;
    }
    part.offset = (next_page - 1) * page_bytes + used;
    used += num_bytes;
  }
  return next_page;
}

}  // namespace

Result<PagedImages> MakePaged(const std::vector<const adapters::AdapterImage*>& images,
                              size_t page_bytes, int num_layers) {
  PagedImages paged;
  std::vector<std::shared_ptr<adapters::AdapterImage>> copies;
  for (const adapters::AdapterImage* image : images) {
    auto copy = std::make_shared<adapters::AdapterImage>();
    copy->weight_bytes = image->weight_bytes;
    copy->parts = image->parts;
    ASSIGN_OR_RETURN(paged.num_pages, Place(copy->parts, page_bytes, paged.num_pages));
    copies.push_back(std::move(copy));
  }
  ASSIGN_OR_RETURN(paged.arena, Buffer::Allocate(paged.num_pages * page_bytes));
  std::vector<uint64_t> pages(paged.num_pages);
  std::iota(pages.begin(), pages.end(), 0);
  std::shuffle(pages.begin(), pages.end(), std::mt19937_64(1));
  for (size_t i = 0; i < images.size(); ++i) {
    for (size_t p = 0; p < copies[i]->parts.size(); ++p) {
      adapters::AdapterPart& part = copies[i]->parts[p];
      part.offset = pages[part.offset / page_bytes] * page_bytes + part.offset % page_bytes;
      std::memcpy(paged.arena.data() + part.offset,
                  images[i]->blob.data() + images[i]->parts[p].offset, part.num_bytes);
    }
    copies[i]->weights = adapters::BindWeights(copies[i]->parts, paged.arena.data(), num_layers);
    paged.images.push_back(std::move(copies[i]));
  }
  return paged;
}

}  // namespace lorry::bench
