#include "formats/content_hash.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

#include <cstring>

namespace lorry::formats {

AdapterId HashAdapterContent(std::span<const std::byte> config,
                             std::span<const std::byte> weights) {
  XXH3_state_t state;
  XXH3_128bits_reset(&state);
  // The length first, so that no byte can move from one part to the other unnoticed.
  const uint64_t config_bytes = config.size();
  XXH3_128bits_update(&state, &config_bytes, sizeof(config_bytes));
  XXH3_128bits_update(&state, config.data(), config.size());
  XXH3_128bits_update(&state, weights.data(), weights.size());
  XXH128_canonical_t canonical;
  XXH128_canonicalFromHash(&canonical, XXH3_128bits_digest(&state));
  AdapterId id;
  static_assert(sizeof(canonical.digest) == sizeof(id.bytes));
  std::memcpy(id.bytes.data(), canonical.digest, sizeof(canonical.digest));
  if (id.IsBase()) id.bytes[0] = 1;
  return id;
}

}  // namespace lorry::formats
