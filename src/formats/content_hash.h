// Identity of an adapter: SHA-256 of the files that decide its answers, cut to the 128 bits of an
// AdapterId. Equal content is the same adapter under any name, and nobody can make another adapter
// that passes for a given one. Owns: nothing. Thread: any.
#pragma once

#include <cstddef>
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

}  // namespace lorry::formats
