// Where the tokens of a text stand in it, in characters: `text_offset` of OpenAI's log
// probabilities. A token that begins within a character stands behind it; one that the text does
// not show stands where the next does.
// Owns: nothing.
// Thread: any.
// Never: looks far ahead for a token that the text does not show.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "base/ids.h"
#include "text/tokenizer.h"

namespace lorry::text {

// Characters that begin in these bytes.
int64_t NumCharacters(std::string_view bytes);

// In the text that the ids decode to.
std::vector<int64_t> OffsetsOfDecoded(const Tokenizer& tokenizer, std::span<const TokenId> ids,
                                      const DecodeOptions& options);

// In the text that was encoded to the ids. The tokenizer may have added tokens, and dropped or
// changed characters (spaces, case, forms of Unicode): offsets are exact where a token's bytes are
// in the text, and close elsewhere.
std::vector<int64_t> OffsetsInText(const Tokenizer& tokenizer, std::span<const TokenId> ids,
                                   std::string_view text);

}  // namespace lorry::text
