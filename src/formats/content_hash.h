// Identity of an adapter: XXH3-128 of its config and weights. Equal content is the same adapter
// under any name. Owns: nothing. Thread: any. Never: a secret or a signature; XXH3 is fast, not
// cryptographic.
#pragma once

#include <cstddef>
#include <span>

#include "base/ids.h"

namespace lorry::formats {

// Never the all-zero id, which stands for the base model.
AdapterId HashAdapterContent(std::span<const std::byte> config, std::span<const std::byte> weights);

}  // namespace lorry::formats
