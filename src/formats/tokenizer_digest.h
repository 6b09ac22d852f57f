// What a tokenizer.json says, as a number: two of the same number are the same tokenizer, however
// they are written. A file of 64 MiB may hold 30 million values, so no tree is made of it.
// Owns: nothing. Thread: any.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace lorry::formats {

// As many as a tokenizer may have tokens.
inline constexpr size_t kMaxAddedTokens = size_t{1} << 22;

struct TokenizerDigest {
  // Of all but "truncation" and "padding": how batches were cut and filled up in training. The
  // order of an object's keys does not count.
  uint64_t value = 0;
  // Digests of the contents of "added_tokens", ascending.
  std::vector<uint64_t> added;

  bool HasAdded(std::string_view content) const;
};

// kInvalidArgument: not JSON, or no object. kTooLarge: nested too deep, too many added tokens.
Result<TokenizerDigest> DigestTokenizer(std::string_view json, std::string_view where);

}  // namespace lorry::formats
