// Ids are types: mixing a page with a sequence does not compile.
#pragma once

#include <array>
#include <compare>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>
#include <string>

namespace lorry {

template <typename Tag, typename Int>
struct Id {
  Int value = 0;
  friend auto operator<=>(const Id&, const Id&) = default;
};

using RequestId = Id<struct RequestTag, uint64_t>;  // a client's request
using SeqId = Id<struct SeqTag, uint64_t>;          // one of the n sequences of a request
using PageId = Id<struct PageTag, int32_t>;
using TokenId = int32_t;  // as tokenizers count; plain, since kernels index with it

// Identity of an adapter: a hash of its content (weights and config), never its name. All zero: the
// base.
struct AdapterId {
  std::array<uint8_t, 16> bytes{};
  friend auto operator<=>(const AdapterId&, const AdapterId&) = default;
  bool IsBase() const { return *this == AdapterId{}; }
  std::string Hex() const;
};

}  // namespace lorry

template <typename Tag, typename Int>
struct std::hash<lorry::Id<Tag, Int>> {
  size_t operator()(lorry::Id<Tag, Int> id) const { return std::hash<Int>()(id.value); }
};
template <>
struct std::hash<lorry::AdapterId> {
  size_t operator()(const lorry::AdapterId& id) const {
    size_t prefix;
    std::memcpy(&prefix, id.bytes.data(), sizeof(prefix));
    return prefix;
  }
};
