// The layout of adapters that lost (docs/decisions/0005): parts lie in pages of the pool, wherever
// these are, and never straddle one. Kept to be measured against.
#pragma once

#include <memory>
#include <vector>

#include "adapters/adapter_image.h"

namespace lorry::bench {

// Copies whose parts lie in shuffled pages of the arena. kTooLarge: a part is longer than a page.
struct PagedImages {
  Buffer arena;
  std::vector<std::shared_ptr<const adapters::AdapterImage>> images;
  size_t num_pages = 0;
};
Result<PagedImages> MakePaged(const std::vector<const adapters::AdapterImage*>& images,
                              size_t page_bytes, int num_layers);

}  // namespace lorry::bench
